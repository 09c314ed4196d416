// Reads records in the format of wire.py, from a live run or a recording.
const MAGIC = "MLDEMO3\n", KINDS = { u1: Uint8Array, f4: Float32Array };
const words = new TextDecoder();
const PAGE = crypto.getRandomValues(new Uint32Array(3)).join("-"); // identifies this page

function parse(buffer) { // the bytes after a record's length
  const length = new DataView(buffer).getUint32(0, true);
  const record = JSON.parse(words.decode(new Uint8Array(buffer, 4, length)));
  let at = 4 + length;
  const data = {};
  for (const [name, kind, shape] of record.arrays) {
    const size = shape.reduce((a, b) => a * b, 1), array = new KINDS[kind](buffer, at, size);
    data[name] = array;
    at += array.byteLength + (-array.byteLength & 3);
  }
  record.data = data;
  return record;
}

class Bytes { // what has arrived and has not been read yet
  parts = []; size = 0;
  push(part) { this.parts.push(part); this.size += part.length; }
  take(count) { // into a new buffer: typed arrays need an aligned start
    const out = new Uint8Array(count);
    let done = 0;
    while (done < count) {
      const part = this.parts[0], use = Math.min(part.length, count - done);
      out.set(part.subarray(0, use), done);
      done += use;
      if (use === part.length) this.parts.shift();
      else this.parts[0] = part.subarray(use);
    }
    this.size -= count;
    return out;
  }
}

export async function* records(url, signal) {
  const recorded = url.pathname.endsWith(".bin"), headers = recorded ? {} : { "X-Page": PAGE };
  const answer = await fetch(url, { signal, headers });
  if (!answer.ok) { // 503: no place is free
    const words = (await answer.text()).slice(0, 400) || answer.statusText;
    throw Object.assign(Error(words), { refused: answer.status === 503 });
  }
  const reader = answer.body.getReader(), bytes = new Bytes();
  let need = null, begun = !recorded;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    bytes.push(value);
    if (!begun && bytes.size >= MAGIC.length) {
      if (words.decode(bytes.take(MAGIC.length)) !== MAGIC) throw Error("this is no recording");
      begun = true;
    }
    while (begun) {
      if (need === null && bytes.size >= 4)
        need = new DataView(bytes.take(4).buffer).getUint32(0, true);
      if (need === null || bytes.size < need) break;
      const buffer = bytes.take(need).buffer;
      need = null;
      yield parse(buffer);
    }
  }
  if (need !== null || bytes.size) throw Error("the connection broke off");
}
