/** Teams and users are made up, the same ones every time. */

export const teams = [
  'Atlas',
  'Compass',
  'Delta',
  'Estuary',
  'Headwater',
  'Lagoon',
  'Meander',
  'Nomad',
  'Oxbow',
  'Rapids',
  'Spring',
  'Tributary',
] as const;

const firstNames = [
  'Ada',
  'Amara',
  'Anton',
  'Beatriz',
  'Chidi',
  'Clara',
  'Dario',
  'Elif',
  'Farah',
  'Goran',
  'Hana',
  'Ibrahim',
  'Ines',
  'Jonas',
  'Kaori',
  'Leila',
  'Mateo',
  'Nadia',
  'Olu',
  'Priya',
  'Quentin',
  'Rosa',
  'Sven',
  'Tomás',
  'Yara',
] as const;
const lastNames = [
  'Abebe',
  'Bergman',
  'Castillo',
  'Dubois',
  'Eriksen',
  'Fontana',
  'García',
  'Haddad',
  'Ivanova',
  'Jensen',
  'Kimura',
  'Lindqvist',
  'Moreau',
  'Nakamura',
  'Okafor',
  'Petrov',
  'Quispe',
  'Rossi',
  'Schneider',
  'Tanaka',
] as const;

export interface Person {
  readonly name: string;
  readonly email: string;
  readonly role: 'member' | 'lead' | 'admin';
  /** Number of the team, from 1; null: in none. */
  readonly teamId: number | null;
}

const ascii = (name: string): string =>
  name
    .normalize('NFD')
    .replace(/[^A-Za-z]/g, '')
    .toLowerCase();

/** Every first name with every last name: 500 people. The first of each team leads it. */
export const people: readonly Person[] = firstNames.flatMap((first, row) =>
  lastNames.map((last, column): Person => {
    const number = row * lastNames.length + column;
    const teamId = number % 17 === 16 ? null : (number % teams.length) + 1;
    const role = number === 0 ? 'admin' : number < teams.length ? 'lead' : 'member';
    return { name: `${first} ${last}`, email: `${ascii(first)}.${ascii(last)}@example.com`, role, teamId };
  }),
);
