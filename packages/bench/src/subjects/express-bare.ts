import { expressProxy } from './express-proxy.ts'
import { serve } from './serve.ts'

// The base that everything is compared with: Express 5, its body parser, undici, nothing else.
serve((upstreamOrigin) => expressProxy(upstreamOrigin))
