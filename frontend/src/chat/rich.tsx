/** WhatsApp's own marks (*bold*, _italic_, ~struck~) and links, as elements: text never becomes HTML. */
import type { ReactNode } from "react";

const MARK = /(\*[^\s*](?:[^*\n]*[^\s*])?\*|_[^\s_](?:[^_\n]*[^\s_])?_|~[^\s~](?:[^~\n]*[^\s~])?~|https?:\/\/[^\s<>"]+)/g;

export function rich(text: string): ReactNode[] {
  return text.split(MARK).map((part, index) => {
    if (index % 2 === 0) return part;
    if (part.startsWith("http")) return <a key={index} href={part} target="_blank" rel="noopener noreferrer nofollow">{part}</a>;
    const inner = part.slice(1, -1);
    if (part.startsWith("*")) return <b key={index}>{inner}</b>;
    if (part.startsWith("_")) return <em key={index}>{inner}</em>;
    return <s key={index}>{inner}</s>;
  });
}
