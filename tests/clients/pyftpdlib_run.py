"""pyftpdlib's functional tests against another server than its own.

Called in `storage.root` as `pyftpdlib_run.py SOURCE CA PORT4 PORT6`; SOURCE is the unpacked source package, the user is `user` with password `12345`.
What is adapted: the client speaks TLS from the start and resumes its session on data connections, the server runs already, replies are compared by
their codes (and a few words by ours), pytest is replaced by what the tests use of it. A test of `OTHERWISE` must fail, with the reason standing beside
it; any other test must pass. The last line says how many of each.
"""

import ftplib
import os
import ssl
import sys
import types
import unittest

SOURCE, AUTHORITY, PORT4, PORT6 = sys.argv[1:]

# Words in pyftpdlib's replies, and in ours.
WORDS = {"privileged port": "below 1024", "foreign address": "own address"}

# Classes that configure or look into a pyftpdlib server of this process, instead of talking to one.
INSIDE = {
    "TestThrottleBandwidth": "sets the limits of a server in this process",
    "TestTimeouts": "sets the deadlines of a server in this process",
    "TestConfigurableOptions": "sets options of a server in this process",
    "TestCallbacks": "hooks methods of a server in this process",
    "ThreadedFTPTests": "patches a server in this process",
    "TestFtpStoreDataNoSendfile": "switches sendfile of a server in this process",
    "TestFtpStoreDataWithCustomIO": "changes the file objects of a server in this process",
    "TestFtpRetrieveDataNoSendfile": "switches sendfile of a server in this process",
    "TestFtpRetrieveDataCustomIO": "changes the file objects of a server in this process",
}

# Tests that do not hold here, and why.
OTHERWISE = {
    "TestCornerCases.test_active_conn_error": "an active connection is made when the transfer begins, not by PORT",
    "TestCornerCases.test_ioloop_fileno": "looks into a server in this process",
    "TestCornerCases.test_port_race_condition": "an active connection is made when the transfer begins, not by PORT",
    "TestFtpAbort.test_abor_no_data": "ABOR without a transfer: 226, not 225 (RFC 959 §4.1.3: 225 says that a data connection is open)",
    "TestFtpAbort.test_abor_pasv": "the same",
    "TestFtpAbort.test_abor_port": "the same",
    "TestFtpAbort.test_oob_abor": "TLS has no urgent data",
    "TestFtpAuthentication.test_anon_auth": "nobody is anonymous here",
    "TestFtpAuthentication.test_rein_during_transfer": "one reply for each command, in order: REIN waits for the transfer (RFC 959 §4.1.1)",
    "TestFtpAuthentication.test_user": "USER after a login: 503, REIN comes first",
    "TestFtpAuthentication.test_user_during_transfer": "the same",
    "TestFtpCmdsSemantic.test_auth_cmds": "CLNT, CSID, HOST, LANG, OPTS and the like are answered before the login",
    "TestFtpCmdsSemantic.test_no_arg_cmds": "arguments of ABOR, NOOP and QUIT are passed over",
    "TestFtpCmdsSemantic.test_no_auth_cmds": "STAT and SITE HELP want a login",
    "TestFtpDummyCmds.test_allo": "ALLO wants a number (RFC 959 §5.3.2)",
    "TestFtpDummyCmds.test_opts_feat": "OPTS MLST passes over what it does not know, and the facts of FEAT are in another order",
    "TestFtpDummyCmds.test_site_help": "SITE HELP passes over its argument",
    "TestFtpDummyCmds.test_type": "TYPE L 7: no file has bytes of seven bits",
    "TestFtpFsOperations.test_cwd": "CWD wants a path (RFC 959 §5.3.1)",
    "TestFtpFsOperations.test_size": "SIZE in TYPE A is the size as it would be sent (RFC 3659 §4)",
    "TestFtpListingCmds.test_mlsd": "MLSD lists the directory itself as well (type=cdir), also when it is empty",
    "TestFtpListingCmds.test_mlsd_all_facts": "no fact says who owns a file",
    "TestFtpRetrieveData.test_restore_on_retr": "without PASV before it, RETR is 425 whatever REST said",
    "TestFtpStoreData.test_appe_rest": "REST and APPE do not go together: 503, for good",
    "TestFtpStoreData.test_rest_on_stor": "without PASV before it, STOR is 425 whatever REST said",
    "TestFtpStoreData.test_quit_during_transfer": "one reply for each command, in order: 221 comes after 226",
    "TestFtpStoreData.test_stou": "STOU wants PASV or PORT before it",
    "TestFtpStoreData.test_stou_orphaned_file": "nobody is anonymous here",
    "TestFtpStoreData.test_stou_rest": "REST and STOU do not go together: 503, for good",
    "TestIPv4Environment.test_eprt": "an address that is none of its family is 501, a privileged port 504",
    "TestIPv4Environment.test_port_v4": "a privileged port is 504",
    "TestIPv6Environment.test_eprt": "an address that is none of its family is 501, a privileged port 504",
    "TestIPv6Environment.test_eprt_v6": "::foo is no address",
    "TestIPv6MixedEnvironment.test_eprt_v4": "an active connection is made when the transfer begins, not by EPRT",
}


class Reply(str):
    """A reply: equal to any other with its code."""

    def __eq__(self, other):
        if isinstance(other, str) and self[:3].isdigit() and other[:3].isdigit():
            return self[:3] == other[:3]
        return str.__eq__(self, other)

    def __ne__(self, other):
        return not self == other

    __hash__ = str.__hash__

    def __str__(self):
        return self

    def __contains__(self, text):
        return str.__contains__(self, WORDS.get(text, text))


class Client(ftplib.FTP_TLS):
    """FTP_TLS that is secure before `login`, and resumes on data connections."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, context=ssl.create_default_context(cafile=AUTHORITY), **{**kwargs, "timeout": 5})

    def connect(self, *args, **kwargs):
        welcome = super().connect(*args, **kwargs)
        self.host = "localhost"
        self.auth()
        self.prot_p()
        return welcome

    def login(self, user="", passwd="", acct="", secure=True):
        return super().login(user, passwd, acct, secure)

    def ntransfercmd(self, cmd, rest=None):
        conn, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        return self.context.wrap_socket(conn, server_hostname=self.host, session=self.sock.session), size

    def getmultiline(self):
        return Reply(super().getmultiline())


class Server:
    """The server that runs already."""

    def __init__(self, address=None):
        self.host = address[0] if address else "127.0.0.1"
        self.port = int(PORT6 if ":" in self.host else PORT4)

    def start(self):
        pass

    def stop(self):
        pass


class Raises:
    """`pytest.raises`: the type, and the code if the text begins with one."""

    def __init__(self, expected, match=None):
        self.expected, self.match = expected, match

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        assert kind is not None, f"{self.expected} was not raised"
        if not issubclass(kind, self.expected):
            return False
        code = (self.match or "")[:3]
        assert not code.isdigit() or str(error)[:3] == code, f"{error} instead of {self.match}"
        return True


def stubs():
    mark = types.SimpleNamespace(skipif=unittest.skipIf, skip=unittest.skip, xdist_group=lambda **_: lambda thing: thing)
    mark.skip = lambda reason: unittest.skip(reason)
    mark.skipif = lambda condition, reason: unittest.skipIf(condition, reason)
    pytest = types.ModuleType("pytest")
    pytest.raises, pytest.mark, pytest.fixture = Raises, mark, lambda *_, **__: lambda thing: thing
    sys.modules["pytest"] = pytest
    sys.modules["psutil"] = types.ModuleType("psutil")


def main():
    stubs()
    sys.path.insert(0, SOURCE)
    from pyftpdlib.test import test_functional as functional

    functional.SUPPORTS_HYBRID_IPV6 = False
    loader, wanted, inside = unittest.TestLoader(), unittest.TestSuite(), 0
    for name, case in sorted(vars(functional).items()):
        if not (isinstance(case, type) and issubclass(case, unittest.TestCase) and case.__module__ == functional.__name__):
            continue
        tests = loader.loadTestsFromTestCase(case)
        if name in INSIDE:
            inside += tests.countTestCases()
            continue
        if hasattr(case, "server_class"):
            Server.handler = case.server_class.handler
            case.server_class, case.client_class = Server, Client
        wanted.addTests(tests)
    result = unittest.TextTestRunner(stream=sys.stderr, verbosity=2).run(wanted)
    finish(result, inside)


def finish(result, inside):
    short = lambda test: ".".join(test.id().split(".")[-2:])
    failed = {short(test) for test, _ in result.failures + result.errors}
    skipped = {short(test) for test, _ in result.skipped}
    surprises = failed - set(OTHERWISE)
    pleasant = set(OTHERWISE) - failed - skipped
    for name in sorted(surprises):
        print(f"FAILED {name}")
    for name in sorted(pleasant):
        print(f"PASSED although it is listed: {name}")
    print(f"pyftpdlib: {result.testsRun - len(failed) - len(skipped)} passed, {len(failed & set(OTHERWISE))} otherwise here, {inside + len(skipped)} not about a server")
    sys.exit(1 if surprises or pleasant else 0)


if __name__ == "__main__":
    main()
