import type { IncomingMessage } from 'node:http'
import type { RequestContext } from './context.js'

/** What Express (and Nest on it) leaves on a request that a route took. */
interface RoutedRequest extends IncomingMessage {
  readonly originalUrl?: string
  readonly baseUrl?: string
  readonly route?: { readonly path?: unknown }
  readonly params?: unknown
}

/** Path and query as the caller sent them. Express and Connect rewrite `url` under mounts. Of a target in absolute form (RFC 9112, 3.2.2) what follows the host. */
export function urlOf(req: IncomingMessage): string {
  const target = (req as RoutedRequest).originalUrl ?? req.url ?? '/'
  return target.startsWith('/') ? target : target.replace(/^[a-z][a-z\d+.-]*:\/\/[^/?#]*/i, '')
}

/** {@link urlOf} without the query. */
export function pathOf(req: IncomingMessage): string {
  const url = urlOf(req)
  const end = url.search(/[?#]/)
  return end === -1 ? url : url.slice(0, end)
}

/** What stands after the `?`, whatever form the target has (RFC 9112, 3.2). */
export function queryParams(req: IncomingMessage): URLSearchParams {
  const [, query = ''] = /\?([^#]*)/.exec(urlOf(req)) ?? []
  return new URLSearchParams(query)
}

/** What Express knows of one route: the templates by the mount that the request came through. */
type Templates = Map<string, string>
const templatesOfRoute = new WeakMap<object, Templates>()
/** More mounts than this of one route, and the mount path must have parameters. */
const maxMounts = 4

/**
 * The template of the route that took the request: `/users/:id` under the mount `/v1` is `/v1/users/:id`, as the framework writes it. Read it when
 * the request ends: nothing is known before. `undefined` where no route took it and none of ours named itself.
 *
 * Always one of few: Express tells the path of a mount only as the caller sent it, so its case is folded, a part that equals a parameter becomes
 * `:name`, and a route seen under more than four mounts is taken to have parameters there: its mount becomes `/*`.
 */
export function routeTemplate(context: RequestContext, req: IncomingMessage): string | undefined {
  const { route, baseUrl = '' } = req as RoutedRequest
  const path = route?.path
  if (route === undefined || (typeof path !== 'string' && !Array.isArray(path) && !(path instanceof RegExp))) {
    return context.route
  }
  if (baseUrl === '') return String(path)
  let templates = templatesOfRoute.get(route)
  if (templates === undefined) {
    templates = new Map()
    templatesOfRoute.set(route, templates)
  }
  const mount = withoutParams(baseUrl.toLowerCase(), (req as RoutedRequest).params)
  const known = templates.get(mount)
  if (known !== undefined) return known
  const template = `${templates.size < maxMounts ? mount : '/*'}${path === '/' ? '' : String(path)}`
  if (templates.size < maxMounts) templates.set(mount, template)
  return template
}

function withoutParams(mount: string, params: unknown): string {
  if (typeof params !== 'object' || params === null) return mount
  const names = new Map(Object.entries(params).map(([name, value]) => [String(value).toLowerCase(), name]))
  if (names.size === 0) return mount
  return mount
    .split('/')
    .map((part) => {
      const name = part === '' ? undefined : names.get(decoded(part))
      return name === undefined ? part : `:${name}`
    })
    .join('/')
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part).toLowerCase()
  } catch {
    return part
  }
}

/**
 * Finds the template of a path among these, for requests that are answered before any route is known (an early 401) and for hosts that do not
 * tell: `/v1/models/{name}` or `/v1/models/:name`; a parameter is one segment, `*` at the end is the rest.
 */
export function routeMatcher(templates: readonly string[]): (path: string) => string | undefined {
  const exact = new Map<string, string>()
  const patterns: Array<{ readonly template: string; readonly pattern: RegExp }> = []
  for (const template of templates) {
    if (!/[{:*]/.test(template)) exact.set(template, template)
    else patterns.push({ template, pattern: patternOf(template) })
  }
  return (path) => {
    const trimmed = path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path
    return exact.get(trimmed) ?? patterns.find(({ pattern }) => pattern.test(trimmed))?.template
  }
}

function patternOf(template: string): RegExp {
  const parts = template.split('/').map((part, index, all) => {
    if (part.startsWith('*') && index === all.length - 1) return '.*'
    if (/^(?::\w+|\{\w+\})$/.test(part)) return '[^/]+'
    return part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
  })
  return new RegExp(`^${parts.join('/')}$`)
}
