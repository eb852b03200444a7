// Node's basic-ftp; the work and its words stand in README.md beside this file.
//
// Called as `basic_ftp.js PORT CA USER PASSWORD VERSION MODE DIRECTORY`.
const assert = require("assert")
const fs = require("fs")
const { Writable, Readable } = require("stream")
const ftp = require("basic-ftp")

async function main() {
    const [port, authority, user, password, version, mode, directory] = process.argv.slice(2)
    process.chdir(directory)
    const client = new ftp.Client(30000)
    const tls = { ca: fs.readFileSync(authority), minVersion: `TLSv${version}`, maxVersion: `TLSv${version}` }
    const secure = mode === "implicit" ? "implicit" : true
    await client.access({ host: "localhost", port: Number(port), user, password, secure, secureOptions: tls })
    console.log("ok login")
    await work(client)
    client.close()
}

async function work(client) {
    const whole = fs.readFileSync("up.bin")
    const half = Math.floor(whole.length / 2)
    await client.ensureDir("/work")
    await client.cd("/")
    await client.uploadFrom("up.bin", "work/first.bin")
    console.log("ok upload")
    assert.strictEqual(await client.size("work/first.bin"), whole.length)
    const [entry] = await client.list("work")
    assert.deepStrictEqual([entry.name, entry.size, entry.isFile], ["first.bin", whole.length, true])
    console.log("ok list")
    await client.downloadTo("down.bin", "work/first.bin")
    assert(fs.readFileSync("down.bin").equals(whole))
    console.log("ok download")
    const parts = []
    const sink = new Writable({ write(chunk, _, done) { parts.push(chunk); done() } })
    await client.downloadTo(sink, "work/first.bin", half)
    assert(Buffer.concat(parts).equals(whole.subarray(half)))
    console.log("ok resume-down")
    await client.uploadFrom("half.bin", "kept.bin")
    await client.appendFrom(Readable.from([whole.subarray(half)]), "kept.bin")
    console.log("ok resume-up")
    await client.rename("work/first.bin", "work/second.bin")
    console.log("ok rename")
    await client.remove("work/second.bin")
    await client.removeDir("/work")
    console.log("ok delete")
    await client.uploadFromDir("tree", "/tree")
    await client.downloadToDir("back", "/tree")
    console.log("ok recursive")
}

main().catch(error => {
    console.error(error)
    process.exit(1)
})
