"""Python's ftplib with one control session and a transfer every few seconds; each data connection shows the control connection's session.

Called as `ftplib_paced.py PORT CA USER PASSWORD VERSION DIRECTORY ROUNDS SECONDS`, VERSION being 1.2 or 1.3. In turn it uploads `up.bin` of DIRECTORY and downloads
it again. It prints `ok` when every transfer went well over a resumed session.
"""

import ftplib
import io
import os
import ssl
import sys
import time


class Reusing(ftplib.FTP_TLS):
    """FTP_TLS that resumes the control connection's session on the data connection."""

    def ntransfercmd(self, cmd, rest=None):
        conn, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        conn = self.context.wrap_socket(conn, server_hostname=self.host, session=self.sock.session)
        assert conn.session_reused, cmd
        return conn, size


def main():
    port, authority, user, password, version, directory, rounds, seconds = sys.argv[1:]
    context = ssl.create_default_context(cafile=authority)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2 if version == "1.2" else ssl.TLSVersion.TLSv1_3
    with open(os.path.join(directory, "up.bin"), "rb") as file:
        whole = file.read()
    ftp = Reusing(context=context, timeout=30)
    ftp.connect("localhost", int(port))
    ftp.login(user, password)
    ftp.prot_p()
    for count in range(int(rounds)):
        if count > 0:
            time.sleep(float(seconds))
        if count % 2 == 0:
            ftp.storbinary(f"STOR python-{version}.bin", io.BytesIO(whole))
        else:
            back = io.BytesIO()
            ftp.retrbinary(f"RETR python-{version}.bin", back.write)
            assert back.getvalue() == whole
    ftp.quit()
    print("ok")


main()
