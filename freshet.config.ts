/** The resources of the demo. Point FRESHET_CONFIG at a file of your own, or change this one. */
import { defineConfig, table } from './shared/resources/define.ts';

interface City {
  id: number;
  name: string;
  country_code: string;
  population: number;
  latitude: number;
  longitude: number;
}

interface User {
  id: number;
  name: string;
  email: string;
  role: string;
  team_id: number | null;
  version: string;
  created_at: string;
  updated_at: string;
}

export default defineConfig({
  resources: {
    countries: table('countries'),
    cities: table<City>('cities', {
      columns: ['id', 'name', 'country_code', 'population', 'latitude', 'longitude'],
      rewarm: 'hot',
      warmUp: { top: 1000 },
    }),
    teams: table('teams', { readOnly: ['id'], write: 'cache-aside' }),
    users: table<User>('users', {
      columns: ['id', 'name', 'email', 'role', 'team_id', 'version', 'created_at', 'updated_at'],
      readOnly: ['id', 'version', 'created_at', 'updated_at'],
      etag: 'version',
      versionColumn: 'version',
      write: 'write-through',
      rewarm: 'hot',
      warmUp: { top: 100 },
    }),
  },
});
