// Restores a picture with Replicate's JavaScript client: straight from Cog's own server, or over a /v1 API.
// node client.mjs BASE_URL PHOTO OUTPUT url|blob: prints a line of JSON with what was seen.
import { readFile, writeFile } from "node:fs/promises";
import Replicate from "replicate";

const [baseUrl, photo, output, kind] = process.argv.slice(2);
const model = `me/facemend:${"0".repeat(64)}`; // the server looks at neither of the two
const replicate = new Replicate({ auth: "none", baseUrl });

// The slot of the call before may not be free yet: the server answers 409 for some milliseconds.
async function run(input, wait, progress) {
  for (;;) {
    try {
      return await replicate.run(model, { input, wait }, progress);
    } catch (error) {
      if (error.response?.status !== 409) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

// Files are uploaded to BASE_URL/files first, which Cog's server does not have: give it data URLs.
const data = await readFile(photo);
const image =
  kind === "blob" ? new Blob([data], { type: "image/png" }) : `data:image/png;base64,${data.toString("base64")}`;
const seen = { statuses: [], logs: "", sizes: [] };
for (const wait of [{ mode: "block" }, { mode: "poll", interval: 50 }]) {
  const file = await run({ image, aligned: true }, wait, (prediction) => {
    seen.statuses.push(prediction.status);
    seen.logs = prediction.logs;
  });
  const bytes = Buffer.from(await (await file.blob()).arrayBuffer());
  seen.sizes.push(bytes.length);
  await writeFile(output, bytes);
}
for (const [name, input] of Object.entries({
  failed: { image: "/etc/passwd" },
  refused: { image, upscale: 99 },
})) {
  try {
    await run(input, { mode: "block" });
  } catch (error) {
    seen[name] = `${error.name}: ${error.message}`;
  }
}
console.log(JSON.stringify(seen));
