/** One instruction of a Dockerfile: `COPY`, and what stands behind it. */
export interface Instruction {
  readonly name: string;
  readonly value: string;
}

export interface Stage {
  readonly name: string | null;
  /** An image, or the name of an earlier stage. */
  readonly from: string;
  readonly instructions: readonly Instruction[];
}

/** The stages of a Dockerfile, lines that were continued put together. */
export function readDockerfile(text: string): Stage[] {
  const lines = text
    .split('\n')
    .filter(line => !line.trimStart().startsWith('#'))
    .join('\n')
    .replaceAll(/\\\n/g, ' ')
    .split('\n')
    .filter(line => line.trim() !== '');
  const stages: { name: string | null; from: string; instructions: Instruction[] }[] = [];
  for (const line of lines) {
    const [, name, value] = /^(\S+)\s+(.*)$/.exec(line.trim())!;
    if (name === 'FROM') {
      const [, from, stage = null] = /^(\S+)(?:\s+AS\s+(\S+))?$/.exec(value!)!;
      stages.push({ name: stage, from: from!, instructions: [] });
    } else {
      stages.at(-1)!.instructions.push({ name: name!, value: value! });
    }
  }
  return stages;
}

/** A stage's instructions, those of the stages it begins with first. */
export function instructionsOf(stages: readonly Stage[], stage: Stage): Instruction[] {
  const base = stages.find(({ name }) => name === stage.from);
  return [...(base ? instructionsOf(stages, base) : []), ...stage.instructions];
}
