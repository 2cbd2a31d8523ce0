import { createServer } from 'node:http'
import { makeListener } from './app.ts'

createServer(makeListener(process.env['API_KEY'] ?? 'a-key-to-try-it-with')).listen(8080, '127.0.0.1')
