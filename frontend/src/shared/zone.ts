/** The zone in which the page shows moments and counts days: the installation's, which `<body data-timezone>` names. */

/** What was asked before, by name: making a formatter is slow, and a chat asks for each of its lines. */
const known = new Map<string | undefined, string | undefined>();

/** Its IANA name; undefined, which means the browser's own zone, when the page names none or one that the browser does not know. */
export function timeZone(): string | undefined {
  const name = document.body.dataset.timezone || undefined;
  if (!known.has(name)) known.set(name, isKnown(name) ? name : undefined);
  return known.get(name);
}

function isKnown(name: string | undefined): boolean {
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    return true;
  } catch {
    return false;
  }
}
