"""openssl s_client as an FTPS client: one process for the control connection, one for each data connection, which offers the control connection's session.

Called as `openssl_client.py PORT CA USER PASSWORD VERSION DIRECTORY`, VERSION being 1.2 or 1.3. It uploads `up.bin` of DIRECTORY, works on it as people do,
and leaves what it downloaded in `down.bin`. It prints `ok resumed=N` when all went well, N being the data connections that say they reused the session.
"""

import os
import re
import subprocess
import sys
import time

DEADLINE = 60


class Control:
    """The control connection."""

    def __init__(self, port, authority, version, session):
        command = client(port, authority, version) + ["-starttls", "ftp", "-quiet", "-crlf", "-sess_out", session]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def ask(self, line, code):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        return self.answer(code)

    def answer(self, code):
        while True:
            line = self.process.stdout.readline().decode()
            if re.match(r"\d{3} ", line):
                assert line.startswith(code), line
                return line.strip()
            assert line, "the control connection ended"


class Session:
    """A login, and transfers over s_client."""

    def __init__(self, port, authority, user, password, version, directory):
        self.authority, self.version, self.directory = authority, version, directory
        self.session = os.path.join(directory, "session.pem")
        self.resumed = 0
        self.control = Control(port, authority, version, self.session)
        self.control.ask(f"USER {user}", "331")
        self.control.ask(f"PASS {password}", "230")
        for line in ["PBSZ 0", "PROT P", "TYPE I"]:
            self.control.ask(line, "200")
        end = time.monotonic() + DEADLINE
        while not os.path.exists(self.session):
            assert time.monotonic() < end, "no session was issued"
            time.sleep(0.01)

    def transfer(self, command, data=None):
        """Sends a command and moves its data: up when there is some, else down."""
        port = int(self.control.ask("EPSV", "229").split("|||")[1].split("|")[0])
        log = os.path.join(self.directory, "data.log")
        arguments = client(port, self.authority, self.version) + ["-sess_in", self.session]
        # Up: the end of the input ends the connection. Down: the server does.
        arguments += ["-quiet", "-no_ign_eof", "-nocommands"] if data is not None else ["-quiet"]
        arguments += ["-msg", "-msgfile", log]
        process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.control.ask(command, "150")
        down, _ = process.communicate(data) if data is not None else (process.stdout.read(), process.stdin.close())
        process.wait(DEADLINE)
        self.control.answer("226")
        with open(log, encoding="latin-1") as file:
            # A handshake that resumes shows no certificate.
            self.resumed += ", Certificate\n" not in file.read()
        os.remove(log)
        return down


def client(port, authority, version):
    return ["openssl", "s_client", "-connect", f"localhost:{port}", "-CAfile", authority, "-verify_return_error", f"-tls{version.replace('.', '_')}"]


def main():
    port, authority, user, password, version, directory = sys.argv[1:]
    with open(os.path.join(directory, "up.bin"), "rb") as file:
        whole = file.read()
    half = len(whole) // 2
    session = Session(port, authority, user, password, version, directory)
    ask, transfer = session.control.ask, session.transfer
    ask("MKD openssl", "257")
    ask("CWD openssl", "250")
    transfer("STOR first.bin", whole[:half])
    transfer("APPE first.bin", whole[half:])
    assert ask("SIZE first.bin", "213") == f"213 {len(whole)}", ask("SIZE first.bin", "213")
    ask("RNFR first.bin", "350")
    ask("RNTO second.bin", "250")
    assert transfer("NLST").decode().split() == ["second.bin"]
    assert b"size=%d;" % len(whole) in transfer("MLSD")
    assert transfer("LIST").rstrip().endswith(b" second.bin")
    assert transfer("RETR second.bin") == whole
    ask(f"REST {half}", "350")
    assert transfer("RETR second.bin") == whole[half:], "the second half differs"
    ask(f"REST {half}", "350")
    transfer("STOR second.bin", whole[half:])
    with open(os.path.join(directory, "down.bin"), "wb") as file:
        file.write(transfer("RETR second.bin"))
    ask("DELE second.bin", "250")
    ask("CDUP", "250")
    ask("RMD openssl", "250")
    ask("QUIT", "221")
    print(f"ok resumed={session.resumed}")


main()
