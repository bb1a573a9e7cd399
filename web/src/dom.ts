/** Elements from the document, and text that is safe in them. */

export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

/** Make an element of text and children; nothing is ever read as HTML. */
export function make(tag: string, attributes: Record<string, string> = {}, ...children: (string | Node)[]): HTMLElement {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Replace an element's children only where they changed, so that focus and selection stay. */
export function show(element: HTMLElement, key: string, children: () => Node[]): void {
  if (element.dataset["shown"] === key) return;
  element.dataset["shown"] = key;
  element.replaceChildren(...children());
}
