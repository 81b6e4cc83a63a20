import type { RequestHandler } from 'express';
import { sendJson } from './answer.ts';
import { PATCH_TYPES } from './http/media-type.ts';
import { ProblemError } from './http/problem.ts';
import { methodNotAllowed, noList } from './http/problems.ts';
import type { ApiContext } from './ports.ts';
import { allowedOnRow, COLLECTION_METHODS, findResource, findRow, rowTemplate } from './target.ts';

/** What is served and how it may be used: `GET /`, OPTIONS, and the refusal of every other method. */

export const answerIndex =
  ({ catalog }: ApiContext): RequestHandler =>
  (_req, res) => {
    const resources = [...catalog().resources.values()].map(resource => ({
      name: resource.name,
      rows: rowTemplate(resource),
      methods: allowedOnRow(resource).split(', '),
      ...(resource.write === false ? {} : { create: `POST /${resource.name}` }),
    }));
    sendJson(res, 200, { resources }, 'no-cache');
  };

export const answerRowOptions =
  ({ catalog }: ApiContext): RequestHandler =>
  (req, res) => {
    const { resource } = findRow(catalog(), req.path);
    const patch = resource.write === false ? {} : { 'Accept-Patch': PATCH_TYPES.join(', ') };
    res.writeHead(204, { Allow: allowedOnRow(resource), ...patch }).end();
  };

export const answerCollectionOptions =
  ({ catalog }: ApiContext): RequestHandler =>
  (req, res) => {
    const resource = findResource(catalog(), req.path);
    if (resource.write === false) throw new ProblemError(noList(resource.name, rowTemplate(resource)));
    res.writeHead(204, { Allow: COLLECTION_METHODS }).end();
  };

export const refuseRowMethod =
  ({ catalog }: ApiContext): RequestHandler =>
  req => {
    const { resource } = findRow(catalog(), req.path);
    throw new ProblemError(methodNotAllowed(req.method, allowedOnRow(resource)));
  };

export const refuseCollectionMethod =
  ({ catalog }: ApiContext): RequestHandler =>
  req => {
    const resource = findResource(catalog(), req.path);
    throw new ProblemError(
      resource.write === false
        ? noList(resource.name, rowTemplate(resource))
        : methodNotAllowed(req.method, COLLECTION_METHODS),
    );
  };
