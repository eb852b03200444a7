# Perl's Net::FTP, which resumes nothing: `up/0.bin` and so on to the root, and from there to `down`, in one session.
#
# Called as `trees.pl HOST PORT CA USER PASSWORD VERSION DIRECTORY COUNT`. It prints `ok` when all went well.
use strict;
use warnings;
use Net::FTP;

my ($host, $port, $authority, $user, $password, $version, $directory, $count) = @ARGV;
chdir $directory or die "chdir: $!";
my $ftp = Net::FTP->new(
    $host,
    Port => $port, Passive => 1, Timeout => 60, SSL_ca_file => $authority, SSL_verifycn_name => $host,
    SSL_version => $version eq '1.2' ? 'TLSv1_2' : 'TLSv1_3',
) or die "connect: $@";
sub must { my ($result, $what) = @_; return $result if defined $result && $result ne ''; die "$what: " . $ftp->message }
must($ftp->starttls, 'starttls');
must($ftp->login($user, $password), 'login');
must($ftp->prot('P'), 'prot');
must($ftp->binary, 'binary');
must($ftp->put("up/$_.bin", "$_.bin"), "put $_") for 0 .. $count - 1;
must($ftp->get("$_.bin", "down/$_.bin"), "get $_") for 0 .. $count - 1;
$ftp->quit;
print "ok\n";
