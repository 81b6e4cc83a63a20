export type Properties = Readonly<Record<string, string | number | boolean>>;

const unit = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;

/** A value as java.util.Properties reads it back, in whichever encoding: all but plain ASCII is escaped. */
const escaped = (value: string): string =>
  value
    .replaceAll('\\', '\\\\')
    .replace(/[^\x20-\x7e]/g, unit)
    .replace(/^ /, '\\ ');

/** The text of a properties file; names are taken as they are. */
export const propertiesText = (properties: Properties): string =>
  Object.entries(properties)
    .map(([name, value]) => `${name}=${escaped(String(value))}\n`)
    .join('');
