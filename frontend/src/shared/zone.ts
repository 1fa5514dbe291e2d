/** The zone in which the page shows moments and counts days: the installation's, which `<body data-timezone>` names. */

/** Its IANA name; undefined, which means the browser's own zone, when the page names none or one that the browser does not know. */
export function timeZone(): string | undefined {
  const name = document.body.dataset.timezone || undefined;
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    return name;
  } catch {
    return undefined;
  }
}
