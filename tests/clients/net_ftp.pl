# Perl's Net::FTP with IO::Socket::SSL; the work and its words stand in README.md beside this file.
#
# Called as `net_ftp.pl PORT CA USER PASSWORD VERSION MODE DIRECTORY`.
use strict;
use warnings;
use Net::FTP;

my ($port, $authority, $user, $password, $version, $mode, $directory) = @ARGV;
$| = 1;
chdir $directory or die "chdir: $!";
my $ftp = Net::FTP->new(
    'localhost',
    Port => $port, Passive => 1, Timeout => 30, SSL => ($mode eq 'implicit' ? 1 : 0),
    SSL_ca_file => $authority, SSL_verifycn_name => 'localhost', SSL_version => $version eq '1.2' ? 'TLSv1_2' : 'TLSv1_3',
) or die "connect: $@";
sub must { my ($result, $what) = @_; return $result if defined $result && $result ne ''; die "$what: " . $ftp->message }
must($ftp->starttls, 'starttls') if $mode eq 'explicit';
must($ftp->login($user, $password), 'login');
must($ftp->prot('P'), 'prot');
must($ftp->binary, 'binary');
print "ok login\n";

my $whole = slurp('up.bin');
my $half = int(length($whole) / 2);
must($ftp->mkdir('work'), 'mkdir');
must($ftp->put('up.bin', 'work/first.bin'), 'put');
print "ok upload\n";
must($ftp->size('work/first.bin') == length $whole, 'size');
my @names = $ftp->ls('work');
die "ls: @names" unless @names == 1 && $names[0] =~ m{(^|/)first\.bin$};
my @lines = $ftp->dir('work');
die "dir: @lines" unless @lines == 1 && $lines[0] =~ / \Q@{[length $whole]}\E .* first\.bin$/;
print "ok list\n";
must($ftp->get('work/first.bin', 'down.bin'), 'get');
die 'download differs' unless slurp('down.bin') eq $whole;
print "ok download\n";
open(my $part, '>:raw', 'part.bin') or die $!;
print $part substr($whole, 0, $half);
close $part;
must($ftp->get('work/first.bin', 'part.bin', $half), 'get from the middle');
die 'resumed download differs' unless slurp('part.bin') eq $whole;
print "ok resume-down\n";
must($ftp->put('half.bin', 'kept.bin'), 'put half');
open(my $rest, '>:raw', 'rest.bin') or die $!;
print $rest substr($whole, $half);
close $rest;
must($ftp->append('rest.bin', 'kept.bin'), 'append');
print "ok resume-up\n";
must($ftp->rename('work/first.bin', 'work/second.bin'), 'rename');
print "ok rename\n";
must($ftp->delete('work/second.bin'), 'delete');
must($ftp->rmdir('work'), 'rmdir');
print "ok delete\n";
put_tree('tree', '/tree');
get_tree('/tree', 'back');
print "ok recursive\n";
$ftp->quit;

sub slurp { my ($path) = @_; open(my $file, '<:raw', $path) or die "$path: $!"; local $/; my $bytes = <$file>; return $bytes // '' }

sub put_tree {
    my ($here, $there) = @_;
    must($ftp->mkdir($there), "mkdir $there");
    opendir(my $handle, $here) or die $!;
    for my $name (grep { !/^\.\.?$/ } readdir $handle) {
        -d "$here/$name" ? put_tree("$here/$name", "$there/$name") : must($ftp->put("$here/$name", "$there/$name"), "put $name");
    }
}

sub get_tree {
    my ($there, $here) = @_;
    mkdir $here or die $!;
    for my $line ($ftp->dir($there)) {
        my ($kind, $name) = $line =~ /^(.)\S+\s+\d+\s+\S+\s+\S+\s+\d+\s+\S+\s+\d+\s+\S+ (.*)$/ or die "line: $line";
        $kind eq 'd' ? get_tree("$there/$name", "$here/$name") : must($ftp->get("$there/$name", "$here/$name"), "get $name");
    }
}
