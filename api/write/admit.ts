import express, { type RequestHandler } from 'express';
import { essenceOf } from '../http/media-type.ts';
import { ProblemError } from '../http/problem.ts';
import { methodNotAllowed, noList, unsupportedMediaType } from '../http/problems.ts';
import type { ApiContext } from '../ports.ts';
import { allowedOnRow, findResource, findRow, rowTemplate } from '../target.ts';

/** What a write must pass before its body is read. */

export const BODY_LIMIT_BYTES = 1024 * 1024;

export const onlyWritableRow =
  ({ catalog }: ApiContext): RequestHandler =>
  (req, _res, next) => {
    const { resource } = findRow(catalog(), req.path);
    if (resource.write === false) {
      throw new ProblemError(methodNotAllowed(req.method, allowedOnRow(resource)));
    }
    next();
  };

export const onlyWritableCollection =
  ({ catalog }: ApiContext): RequestHandler =>
  (req, _res, next) => {
    const resource = findResource(catalog(), req.path);
    if (resource.write === false) throw new ProblemError(noList(resource.name, rowTemplate(resource)));
    next();
  };

/** The raw bytes of a body of one of these types: they are read exactly and compared, so nothing is parsed yet. */
export const bodyOf = (...types: readonly string[]): RequestHandler[] => [
  (req, _res, next) => {
    const { 'content-type': type, 'content-length': length, 'transfer-encoding': coding } = req.headers;
    const hasBody = coding !== undefined || Number(length) > 0;
    if (hasBody && !types.includes(essenceOf(type) ?? '')) {
      // RFC 5789 2.2 for PATCH, RFC 9110 15.5.16 for the others.
      const field = req.method === 'PATCH' ? 'Accept-Patch' : 'Accept';
      throw new ProblemError(unsupportedMediaType(type, types, { [field]: types.join(', ') }));
    }
    next();
  },
  express.raw({ type: () => true, limit: BODY_LIMIT_BYTES, inflate: false }),
];
