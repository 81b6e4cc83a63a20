/** A strict reader of the Prometheus text format: what a scraper would refuse, or take wrongly, throws here. */
export interface ExposedFamily {
  type: string;
  help: string | null;
  /** `name{labels}` → value, in the order they stand. */
  samples: Map<string, number>;
}

const SAMPLE = /^([a-zA-Z_:][\w:]*)((?:\{.*\})?) (\S+)$/;
const LABELS = /^\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\n"])*"(?:,(?!\})|(?=\})))*\}$/;

export function parseExposition(text: string): Map<string, ExposedFamily> {
  const families = new Map<string, ExposedFamily>();
  let current: [name: string, family: ExposedFamily] | undefined;
  const seen = new Set<string>();
  if (!text.endsWith('\n')) throw new Error('the exposition does not end in a newline');

  function open(name: string): ExposedFamily {
    if (current?.[0] === name) return current[1];
    if (families.has(name)) throw new Error(`${name} stands in two places`);
    const family = { type: 'untyped', help: null, samples: new Map<string, number>() };
    families.set(name, family);
    current = [name, family];
    return family;
  }

  for (const line of text.split('\n')) {
    const [, keyword, name, rest] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
    if (keyword && name) {
      const family = open(name);
      if (family.samples.size > 0) throw new Error(`${keyword} of ${name} comes after its samples`);
      if (keyword === 'HELP') {
        if (family.help !== null) throw new Error(`${name} has two HELP lines`);
        family.help = rest!;
      } else {
        if (family.type !== 'untyped') throw new Error(`${name} has two TYPE lines`);
        family.type = rest!;
      }
      continue;
    }
    if (line === '' || line.startsWith('#')) continue;
    const [, sample, labels = '', value] = SAMPLE.exec(line) ?? [];
    if (!sample || (labels && !LABELS.test(labels))) throw new Error(`no sample: ${line}`);
    const belongs =
      current !== undefined &&
      (sample === current[0] ||
        (current[1].type === 'histogram' && new RegExp(`^${current[0]}_(bucket|sum|count)$`).test(sample)));
    const family = belongs ? current![1] : open(sample);
    if (seen.has(sample + labels)) throw new Error(`${sample}${labels} stands twice`);
    seen.add(sample + labels);
    const number = Number(value!.replace('Inf', 'Infinity'));
    if (Number.isNaN(number)) throw new Error(`no number: ${line}`);
    family.samples.set(sample + labels, number);
  }
  for (const [name, { type, samples }] of families) if (type === 'histogram') checkHistogram(name, samples);
  return families;
}

function checkHistogram(name: string, samples: ReadonlyMap<string, number>): void {
  const rising = new Map<string, number>();
  for (const [series, value] of samples) {
    if (!series.startsWith(`${name}_bucket`)) continue;
    const stem = series.slice(`${name}_bucket`.length).replace(/[{,]le="[^"]*"\}$/, '');
    if (value < (rising.get(stem) ?? 0)) throw new Error(`${series} is below the bucket before it`);
    rising.set(stem, value);
    if (series.includes('le="+Inf"') && samples.get(`${name}_count${stem && `${stem}}`}`) !== value) {
      throw new Error(`${series} differs from the count`);
    }
  }
}

/** Names of the families that have at least one sample, histograms at least one observation. */
export const fedFamilies = (families: ReadonlyMap<string, ExposedFamily>): string[] =>
  [...families]
    .filter(([name, { type, samples }]) =>
      type === 'histogram'
        ? [...samples].some(([series, value]) => series.startsWith(`${name}_count`) && value > 0)
        : samples.size > 0,
    )
    .map(([name]) => name);
