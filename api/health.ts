import type { RequestHandler } from 'express';
import { sendJson } from './answer.ts';
import type { ApiContext } from './ports.ts';

/** The process answers: no more is asked of it. */
export const answerLive: RequestHandler = (_req, res) => sendJson(res, 200, { status: 'live' });

/** Whether requests should be sent here, and each condition that this rests on. */
export const answerReady =
  ({ ready }: ApiContext): RequestHandler =>
  (_req, res) => {
    const { ok, conditions } = ready();
    sendJson(res, ok ? 200 : 503, { status: ok ? 'ready' : 'not-ready', conditions });
  };
