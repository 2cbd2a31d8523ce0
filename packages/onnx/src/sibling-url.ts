/**
 * The URL of another file of this package, in the form this one runs in: `.js` in `dist`, `.ts` when the tests run `src` itself.
 * Node runs both, so the thread always loads the same generation of files as its host.
 */
export function siblingUrl(name: string): URL {
  const extension = new URL(import.meta.url).pathname.endsWith('.ts') ? 'ts' : 'js'
  return new URL(`./${name}.${extension}`, import.meta.url)
}
