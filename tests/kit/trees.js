// Node's basic-ftp: `up/0.bin` and so on to the root, and from there to `down`, in one session.
//
// Called as `trees.js HOST PORT CA USER PASSWORD VERSION DIRECTORY COUNT`. It prints `ok` when all went well.
const fs = require("fs")
const ftp = require("basic-ftp")

async function main() {
    const [host, port, authority, user, password, version, directory, count] = process.argv.slice(2)
    process.chdir(directory)
    const client = new ftp.Client(60000)
    const tls = { ca: fs.readFileSync(authority), minVersion: `TLSv${version}`, maxVersion: `TLSv${version}` }
    await client.access({ host, port: Number(port), user, password, secure: true, secureOptions: tls })
    for (let index = 0; index < Number(count); index++) await client.uploadFrom(`up/${index}.bin`, `${index}.bin`)
    for (let index = 0; index < Number(count); index++) await client.downloadTo(`down/${index}.bin`, `${index}.bin`)
    client.close()
    console.log("ok")
}

main().catch(error => {
    console.error(error)
    process.exit(1)
})
