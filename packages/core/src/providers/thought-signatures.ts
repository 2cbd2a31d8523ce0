/** Signatures of Gemini's thoughts carry this among ours, so that they go back to Gemini alone, and no other's come to it. */
export const geminiSignature = 'gemini.'
