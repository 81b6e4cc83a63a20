/** The console's own two pages: plain HTML, light or dark as the reader's system is. */

const page = (body: string): string => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>Freshet console</title>
<style>
  body { font: 1rem/1.5 system-ui, sans-serif; max-width: 38rem; margin: 4rem auto; padding: 0 1rem; }
  dt { margin-top: 1rem; font-weight: 600 }
  dd { margin: 0 }
  input, button { font: inherit; padding: .3rem .6rem }
  .note { opacity: .75; font-size: .9rem }
</style>
</head>
<body>
<h1>Freshet</h1>
${body}
</body>
</html>
`;

export type Standing = 'operator' | 'visitor' | 'no-operator';

const standingText: Readonly<Record<Standing, string>> = {
  operator: '<form method="post" action="/logout">You are the operator. <button>Log out</button></form>',
  visitor: '<p class="note">Read-only. <a href="/login">Log in</a> as the operator to change things.</p>',
  'no-operator':
    '<p class="note">Read-only: no operator token is set (<code>FRESHET_OPERATOR_TOKEN</code>).</p>',
};

export const indexPage = (standing: Standing): string =>
  page(`<dl>
  <dt><a href="/queues/">Queues</a></dt><dd>jobs waiting, done, and dead ones with the reason</dd>
  <dt><a href="/status">Status</a></dt><dd>processes, their modes and proofs of freshness, as JSON</dd>
  <dt><a href="/metrics">Metrics</a></dt><dd>of all API processes together, for Prometheus</dd>
</dl>
${standingText[standing]}`);

export const loginPage = (failed: boolean): string =>
  page(`${failed ? '<p role="alert">That is not the operator token.</p>' : ''}
<form method="post" action="/login">
  <label>Operator token <input type="password" name="token" autocomplete="current-password" required autofocus></label>
  <button>Log in</button>
</form>
<p class="note"><a href="/">Back</a></p>`);
