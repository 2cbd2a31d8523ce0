import OpenAI from 'openai'
import { makeApp } from './app.ts'

makeApp({ openai: new OpenAI(), apiKey: process.env['API_KEY'] ?? 'a-key-to-try-it-with' }).listen(8080, '127.0.0.1')
