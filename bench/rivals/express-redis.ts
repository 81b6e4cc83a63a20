/**
 * The cache in front of Postgres that everybody writes: GET, else SELECT and SET with a time to live. Nothing in it
 * notices that a row has changed. The ETag is made once and stored in front of the body, so that a hit hashes nothing;
 * Express compares it with If-None-Match and answers 304.
 */
import { hash } from 'node:crypto';
import express, { type Response } from 'express';
import { Redis } from 'ioredis';
import { openCities, serve } from './cities.ts';

const ttlSeconds = 300;
const cities = openCities();
const redis = new Redis(process.env.REDIS_URL!, {
  // Off unless one asks for it: commands of one turn of the event loop then leave in one write.
  enableAutoPipelining: process.env.RIVAL_AUTO_PIPELINING === '1',
});
const app = express();
app.disable('x-powered-by');

app.get('/cities/:id', async (req, res) => {
  const key = `rival:cities:${req.params.id}`;
  const cached = await redis.get(key);
  if (cached !== null) return sendCity(res, cached);
  const city = await cities.find(req.params.id);
  if (!city) return res.sendStatus(404);
  const body = JSON.stringify(city);
  const entry = `"${hash('sha1', body, 'base64url')}" ${body}`;
  await redis.set(key, entry, 'EX', ttlSeconds);
  return sendCity(res, entry);
});

function sendCity(res: Response, entry: string): Response {
  const space = entry.indexOf(' ');
  return res
    .set('ETag', entry.slice(0, space))
    .type('json')
    .send(entry.slice(space + 1));
}

serve(app);
