/** Texts of the islands in both languages. English is the list of keys; the compiler and a test hold Spanish to it. */
import { en } from "./en";
import { es } from "./es";

export type Key = keyof typeof en;
export type Params = Record<string, string | number>;
export type Translate = (key: Key, params?: Params) => string;

export const dictionaries = { en, es } as const;
export type Locale = keyof typeof dictionaries;

export function localeOf(value: string | null | undefined): Locale {
  return value?.toLowerCase().startsWith("en") ? "en" : "es";
}

/** Texts with `{name}` places; an unknown place stays as it is, so that a mistake is seen. */
export function translator(locale: Locale): Translate {
  const texts: Record<Key, string> = dictionaries[locale];
  return (key, params) => (params ? texts[key].replace(/\{(\w+)\}/g, (place, name: string) => String(params[name] ?? place)) : texts[key]);
}
