/**
 * Several Prometheus text expositions as one: a family stands in one block with its HELP and TYPE once, and below
 * it the samples of everybody. Series are told apart by their labels (`process`, here); of two with the same name
 * and labels the first stays, because a second would make the whole exposition invalid. So does a family whose
 * type differs from what came before. Lines that are neither comments nor samples are left out.
 */
export function mergeMetrics(expositions: readonly string[]): string {
  const families = new Map<string, Family>();
  const seen = new Set<string>();
  for (const exposition of expositions) addExposition(exposition, families, seen);
  let merged = '';
  for (const { comments, samples } of families.values()) {
    merged += [...comments.values(), ...samples].map(line => `${line}\n`).join('');
  }
  return merged;
}

interface Family {
  /** As the first exposition says that has this family; null until then. */
  type: string | null;
  /** Keyword (HELP, UNIT, TYPE) → line. */
  readonly comments: Map<string, string>;
  readonly samples: string[];
}

const COMMENT = /^# (HELP|UNIT|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*)(?: (.*))?$/;
/** Name, labels, value, and a time stamp perhaps. A label's value may hold anything but a bare quote or newline. */
const SAMPLE =
  /^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[^"{}]|"(?:[^"\\]|\\.)*")*\})? ([+-]?(?:[0-9.eE+-]+|Inf|NaN))(?: -?\d+)?$/;
const PARTS: Readonly<Record<string, readonly string[]>> = {
  histogram: ['_bucket', '_sum', '_count'],
  summary: ['_sum', '_count'],
};

function addExposition(exposition: string, families: Map<string, Family>, seen: Set<string>): void {
  /** Types as this exposition states them: they say which family `x_count` belongs to. */
  const types = new Map<string, string>();
  for (const line of exposition.split('\n')) {
    const comment = COMMENT.exec(line);
    if (comment) {
      const [, keyword, name, text] = comment;
      const family = familyOf(name!, families);
      if (keyword === 'TYPE') {
        const type = text ?? 'untyped';
        types.set(name!, type);
        family.type ??= type;
        if (family.type !== type) continue;
      }
      if (!family.comments.has(keyword!)) family.comments.set(keyword!, line);
      continue;
    }
    const sample = SAMPLE.exec(line);
    if (!sample) continue;
    const [, name, labels = ''] = sample;
    const owner = ownerOf(name!, types);
    const family = familyOf(owner, families);
    const series = name! + labels;
    const type = types.get(owner) ?? 'untyped';
    family.type ??= type;
    if (seen.has(series) || family.type !== type) continue;
    seen.add(series);
    family.samples.push(line);
  }
}

function ownerOf(sampleName: string, types: ReadonlyMap<string, string>): string {
  if (types.has(sampleName)) return sampleName;
  for (const suffix of ['_bucket', '_sum', '_count']) {
    const stem = sampleName.endsWith(suffix) ? sampleName.slice(0, -suffix.length) : '';
    if (PARTS[types.get(stem) ?? '']?.includes(suffix)) return stem;
  }
  return sampleName;
}

function familyOf(name: string, families: Map<string, Family>): Family {
  let family = families.get(name);
  if (!family) {
    family = { type: null, comments: new Map(), samples: [] };
    families.set(name, family);
  }
  return family;
}
