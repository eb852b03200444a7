"""Python's ftplib against a node: every data connection shows the session of the control connection.

Called as `ftplib_client.py PORT CA USER PASSWORD VERSION DIRECTORY`, VERSION being 1.2 or 1.3. It uploads `up.bin` of DIRECTORY, works on it
as people do, and leaves what it downloaded in `down.bin`. It prints `ok resumed=N` when all went well, N being the resumed data connections.
"""

import ftplib
import os
import ssl
import sys


class Reusing(ftplib.FTP_TLS):
    """FTP_TLS that resumes the control connection's session on the data connection."""

    resumed = 0

    def ntransfercmd(self, cmd, rest=None):
        conn, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        if self._prot_p:
            conn = self.context.wrap_socket(conn, server_hostname=self.host, session=self.sock.session)
            Reusing.resumed += conn.session_reused
        return conn, size


def main():
    port, authority, user, password, version, directory = sys.argv[1:]
    context = ssl.create_default_context(cafile=authority)
    wanted = ssl.TLSVersion.TLSv1_2 if version == "1.2" else ssl.TLSVersion.TLSv1_3
    context.minimum_version = context.maximum_version = wanted
    ftp = Reusing(context=context, timeout=30)
    ftp.connect("localhost", int(port))
    ftp.login(user, password)
    ftp.prot_p()
    work(ftp, os.path.join(directory, "up.bin"), os.path.join(directory, "down.bin"))
    ftp.quit()
    print(f"ok resumed={Reusing.resumed}")


def work(ftp, source, target):
    with open(source, "rb") as file:
        whole = file.read()
    half = len(whole) // 2
    ftp.mkd("python")
    ftp.cwd("python")
    assert ftp.pwd() == "/python", ftp.pwd()
    with open(source, "rb") as file:
        ftp.storbinary("STOR first.bin", file)
    assert ftp.size("first.bin") == len(whole)
    ftp.rename("first.bin", "second.bin")
    assert ftp.nlst() == ["second.bin"], ftp.nlst()
    facts = dict(ftp.mlsd())["second.bin"]
    assert facts["type"] == "file" and int(facts["size"]) == len(whole), facts
    lines = []
    ftp.retrlines("LIST", lines.append)
    assert len(lines) == 1 and lines[0].endswith(" second.bin"), lines
    with open(target, "wb") as file:
        ftp.retrbinary(f"RETR second.bin", file.write, rest=half)
    with open(target, "rb") as file:
        assert file.read() == whole[half:], "the second half differs"
    with open(source, "rb") as file:
        ftp.storbinary("APPE second.bin", file)
    assert ftp.size("second.bin") == 2 * len(whole)
    with open(target, "wb") as file:
        ftp.retrbinary("RETR second.bin", file.write)
    with open(target, "rb") as file:
        assert file.read() == whole + whole, "the appended file differs"
    ftp.delete("second.bin")
    ftp.cwd("..")
    ftp.rmd("python")
    assert "python" not in ftp.nlst()


if __name__ == "__main__":
    main()
