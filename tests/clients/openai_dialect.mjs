// What a client for Node makes of the chat API's answers in OpenAI's dialect: its name, its package's folder, the base URL;
// prints JSON. `asked` has what the client's own types lack; where they drop it, it is put into the body on its way.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [client, folder, base] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(createRequire(`${folder}/package.json`).resolve(name)));
const asked = { audio: { voice: "alloy", format: "wav" } };
const song = "<prompt>plan:x meta</prompt><lyrics>[Verse]\nla la</lyrics>";
const failing = "<prompt>plan:x fail:400</prompt><lyrics>la</lyrics>";
const adding = async (input, init) => {
  const request = new Request(input, init);
  const body = JSON.stringify({ ...(await request.json()), ...asked });
  return fetch(new Request(request.url, { method: "POST", headers: request.headers, body }));
};

const clients = {
  async "openai-node"() {
    const { default: OpenAI } = await load("openai");
    const sdk = new OpenAI({ baseURL: base, apiKey: "none" });
    const request = { model: "m", modalities: ["text", "audio"], ...asked, messages: [{ role: "user", content: song }] };
    const made = await sdk.chat.completions.create(request);
    const helper = sdk.chat.completions.stream({ ...request, n: 2, stream_options: { include_usage: true } });
    const streamed = await helper.finalChatCompletion();
    const history = [...request.messages, made.choices[0].message, streamed.choices[1].message, { role: "user", content: song }];
    const again = await sdk.chat.completions.create({ ...request, messages: history });
    let error;
    try {
      const messages = [{ role: "user", content: failing }];
      for await (const _ of await sdk.chat.completions.create({ ...request, messages, stream: true }));
    } catch (caught) { error = caught.message; }
    return { made: made.choices[0].message, streamed: streamed.choices.map((choice) => choice.message),
             usage: streamed.usage, notes: [made.notes, streamed.notes], again: again.choices[0].message, error };
  },
  async "ai-sdk"() {
    const { createOpenAI } = await load("@ai-sdk/openai");
    const { generateText, streamText } = await load("ai");
    const model = createOpenAI({ baseURL: base, apiKey: "none", fetch: adding }).chat("m");
    const made = await generateText({ model, prompt: song });
    const heard = { text: "", data: "", errors: [] };
    const read = async (prompt) => {
      const stream = streamText({ model, prompt, includeRawChunks: true, maxRetries: 0, onError() {} });
      for await (const part of stream.fullStream) {
        if (part.type === "text-delta") heard.text += part.text;
        if (part.type === "raw") heard.data += part.rawValue.choices?.[0]?.delta?.audio?.data ?? "";
        if (part.type === "error") heard.errors.push(part.error.message ?? String(part.error));
        if (part.type === "finish") heard.usage ??= part.totalUsage;
      }
    };
    await read(song);
    await read(failing);
    const messages = [{ role: "user", content: song }, ...made.response.messages, { role: "user", content: song }];
    const again = await generateText({ model, messages });
    return { made: made.response.body.choices[0].message, ...heard, again: again.response.body.choices[0].message };
  },
  async openrouter() {
    const { OpenRouter, HTTPClient } = await load("@openrouter/sdk");
    const sdk = new OpenRouter({ serverURL: base, apiKey: "none", httpClient: new HTTPClient({ fetcher: adding }) });
    const ask = (messages, more = {}) => sdk.chat.send({ chatRequest: { model: "m", messages, ...more } });
    const messages = [{ role: "user", content: song }];
    const made = await ask(messages);
    const told = { data: "", ids: [] };
    for await (const chunk of await ask(messages, { stream: true, streamOptions: { includeUsage: true } })) {
      const audio = chunk.choices[0]?.delta?.audio;
      told.data += audio?.data ?? "";
      if (audio?.id) told.ids.push(audio.id);
      if (chunk.usage) told.usage = chunk.usage;
      if (chunk.choices[0]?.finishReason) told.reason = chunk.choices[0].finishReason;
    }
    const again = await ask([...messages, made.choices[0].message, ...messages]);
    let error;
    for await (const chunk of await ask([{ role: "user", content: failing }], { stream: true })) error = chunk.error ?? error;
    let refused;
    try { await ask(messages, { topK: -1 }); } catch (caught) { refused = [caught.name, caught.message]; }
    return { made: made.choices[0].message, usage: made.usage, again: again.choices[0].message, ...told, error, refused };
  },
};
console.log(JSON.stringify(await clients[client]()));
