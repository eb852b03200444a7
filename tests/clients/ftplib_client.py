"""Python's ftplib, plain or resuming; the work and its words stand in README.md beside this file.

Called as `ftplib_client.py plain|reuse PORT CA USER PASSWORD VERSION MODE DIRECTORY`.
"""

import ftplib
import os
import ssl
import sys


class Client(ftplib.FTP_TLS):
    """FTP_TLS, which can also speak TLS from the first byte, and resumes the control connection's session if it is told to."""

    implicit = reuse = False

    def connect(self, host="", port=0, timeout=-999, source_address=None):
        if not self.implicit:
            return super().connect(host, port, timeout, source_address)
        self.host = host
        self.sock = self.context.wrap_socket(ftplib.socket.create_connection((host, port), 30), server_hostname=host)
        self.af = self.sock.family
        self.file = self.sock.makefile("r", encoding=self.encoding)
        self.welcome = self.getresp()
        return self.welcome

    def ntransfercmd(self, cmd, rest=None):
        if not self.reuse:
            return super().ntransfercmd(cmd, rest)
        conn, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        conn = self.context.wrap_socket(conn, server_hostname=self.host, session=self.sock.session)
        assert conn.session_reused, "the data connection did not resume"
        return conn, size


def main():
    kind, port, authority, user, password, version, mode, directory = sys.argv[1:]
    os.chdir(directory)
    context = ssl.create_default_context(cafile=authority)
    context.minimum_version = context.maximum_version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
    Client.implicit, Client.reuse = mode == "implicit", kind == "reuse"
    ftp = Client(context=context, timeout=30)
    ftp.connect("localhost", int(port))
    ftp.login(user, password, secure=mode == "explicit")
    ftp.prot_p()
    print("ok login")
    work(ftp)
    ftp.quit()


def work(ftp):
    whole = open("up.bin", "rb").read()
    half = len(whole) // 2
    ftp.mkd("work")
    with open("up.bin", "rb") as file:
        ftp.storbinary("STOR work/first.bin", file)
    print("ok upload")
    assert ftp.size("work/first.bin") == len(whole)
    assert [name.split("/")[-1] for name in ftp.nlst("work")] == ["first.bin"]
    assert dict(ftp.mlsd("work"))["first.bin"]["size"] == str(len(whole))
    lines = []
    ftp.retrlines("LIST work", lines.append)
    assert len(lines) == 1 and lines[0].endswith(" first.bin") and f" {len(whole)} " in lines[0], lines
    print("ok list")
    back = []
    ftp.retrbinary("RETR work/first.bin", back.append)
    assert b"".join(back) == whole
    print("ok download")
    back = []
    ftp.retrbinary("RETR work/first.bin", back.append, rest=half)
    assert b"".join(back) == whole[half:]
    print("ok resume-down")
    with open("half.bin", "rb") as file:
        ftp.storbinary("STOR kept.bin", file)
    with open("up.bin", "rb") as file:
        file.seek(half)
        ftp.storbinary("STOR kept.bin", file, rest=half)
    print("ok resume-up")
    ftp.rename("work/first.bin", "work/second.bin")
    assert ftp.nlst("work")[0].endswith("second.bin")
    print("ok rename")
    ftp.delete("work/second.bin")
    ftp.rmd("work")
    print("ok delete")
    put(ftp, "tree", "/tree")
    get(ftp, "/tree", "back")
    print("ok recursive")


def put(ftp, here, there):
    ftp.mkd(there)
    for entry in os.scandir(here):
        if entry.is_dir():
            put(ftp, entry.path, f"{there}/{entry.name}")
        else:
            with open(entry.path, "rb") as file:
                ftp.storbinary(f"STOR {there}/{entry.name}", file)


def get(ftp, there, here):
    os.mkdir(here)
    for name, facts in list(ftp.mlsd(there)):
        if facts["type"] == "dir":
            get(ftp, f"{there}/{name}", f"{here}/{name}")
        elif facts["type"] == "file":
            with open(f"{here}/{name}", "wb") as file:
                ftp.retrbinary(f"RETR {there}/{name}", file.write)


if __name__ == "__main__":
    main()
