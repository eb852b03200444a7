"""aioftp; the work and its words stand in README.md beside this file.

Called as `aioftp_client.py PORT CA USER PASSWORD VERSION MODE DIRECTORY`.
"""

import asyncio
import os
import ssl
import sys

import aioftp


async def main():
    port, authority, user, password, version, mode, directory = sys.argv[1:]
    os.chdir(directory)
    context = ssl.create_default_context(cafile=authority)
    context.minimum_version = context.maximum_version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
    client = aioftp.Client(socket_timeout=30, path_timeout=30, ssl=context if mode == "implicit" else None)
    await client.connect("localhost", int(port))
    if mode == "explicit":
        await client.upgrade_to_tls(sslcontext=context)
    await client.login(user, password)
    if mode == "implicit":
        await client.command("PBSZ 0", "200")
        await client.command("PROT P", "200")
    print("ok login")
    await work(client)
    await client.quit()


async def work(client):
    whole = open("up.bin", "rb").read()
    half = len(whole) // 2
    await client.make_directory("work")
    await client.upload("up.bin", "work/first.bin", write_into=True)
    print("ok upload")
    [(path, facts)] = await client.list("work")
    assert path.name == "first.bin" and facts["size"] == str(len(whole)), (path, facts)
    print("ok list")
    await client.download("work/first.bin", "down.bin", write_into=True)
    assert open("down.bin", "rb").read() == whole
    print("ok download")
    async with client.download_stream("work/first.bin", offset=half) as stream:
        assert b"".join([block async for block in stream.iter_by_block()]) == whole[half:]
    print("ok resume-down")
    await client.upload("half.bin", "kept.bin", write_into=True)
    async with client.upload_stream("kept.bin", offset=half) as stream:
        await stream.write(whole[half:])
    print("ok resume-up")
    await client.rename("work/first.bin", "work/second.bin")
    assert await client.exists("work/second.bin")
    print("ok rename")
    await client.remove("work")
    assert not await client.exists("work")
    print("ok delete")
    await client.upload("tree", "/tree", write_into=True)
    await client.download("/tree", "back", write_into=True)
    print("ok recursive")


asyncio.run(main())
