/** No cache: one prepared statement a request. Express makes the ETag from the body and turns it into a 304. */
import express from 'express';
import { openCities, serve } from './cities.ts';

const cities = openCities();
const app = express();
app.disable('x-powered-by');

app.get('/cities/:id', async (req, res) => {
  const city = await cities.find(req.params.id);
  if (city) res.json(city);
  else res.sendStatus(404);
});

serve(app);
