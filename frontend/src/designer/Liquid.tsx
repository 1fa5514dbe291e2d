/** A text with its {{ variables }} set apart, as elements. */
export function Liquid({ text }: { text: string }) {
  return text.split(/(\{\{.*?\}\}|\{%.*?%\})/g).map((part, index) => {
    if (index % 2 === 0) return part;
    const inner = part.slice(2, -2).trim();
    return <code key={index} className="fd-var">{inner.replace(/^vars\./, "")}</code>;
  });
}
