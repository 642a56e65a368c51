// Building pages from data. Everything that comes from an event goes through
// text nodes and attributes here, never through HTML.

const svg = "http://www.w3.org/2000/svg";

/** byId returns the page's element of that id. */
export function byId(id) {
  return document.getElementById(id);
}

/** el makes an element. Attributes that are null or false are left out; children are nodes or text. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** icon makes one of the icons of icons.html. It is decoration: say in words what it means. */
export function icon(name) {
  const image = document.createElementNS(svg, "svg");
  image.setAttribute("class", "icon");
  image.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(svg, "use");
  use.setAttribute("href", `#icon-${name}`);
  image.append(use);
  return image;
}

/** text returns a value of an event as text: strings as they are, anything else as JSON. */
export function text(value) {
  if (value === null || value === undefined) {
    return "";
  }
  return typeof value === "string" ? value : JSON.stringify(value);
}
