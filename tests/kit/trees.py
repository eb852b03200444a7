"""Python's ftplib: `up/0.bin` and so on to the root, and from there to `down`, in one session.

Called as `trees.py HOST PORT CA USER PASSWORD VERSION DIRECTORY COUNT reusing|plain`. It prints `ok` when all went well.
"""

import ftplib
import os
import ssl
import sys


class Reusing(ftplib.FTP_TLS):
    """Every data connection shows the session of the control connection."""

    def ntransfercmd(self, cmd, rest=None):
        conn, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        if self._prot_p:
            conn = self.context.wrap_socket(conn, server_hostname=self.host, session=self.sock.session)
        return conn, size


def main():
    host, port, authority, user, password, version, directory, count, kind = sys.argv[1:]
    context = ssl.create_default_context(cafile=authority)
    wanted = ssl.TLSVersion.TLSv1_2 if version == "1.2" else ssl.TLSVersion.TLSv1_3
    context.minimum_version = context.maximum_version = wanted
    ftp = (Reusing if kind == "reusing" else ftplib.FTP_TLS)(context=context, timeout=60)
    ftp.connect(host, int(port))
    ftp.login(user, password)
    ftp.prot_p()
    for index in range(int(count)):
        with open(os.path.join(directory, "up", f"{index}.bin"), "rb") as file:
            ftp.storbinary(f"STOR {index}.bin", file)
    for index in range(int(count)):
        with open(os.path.join(directory, "down", f"{index}.bin"), "wb") as file:
            ftp.retrbinary(f"RETR {index}.bin", file.write)
    ftp.quit()
    print("ok")


main()
