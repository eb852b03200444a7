<?php
// PHP's ftp extension; the work and its words stand in README.md beside this file.
//
// Called as `ftp.php PORT CA USER PASSWORD VERSION MODE DIRECTORY`. The extension checks no certificate and knows no implicit TLS; the TLS version
// is set by OPENSSL_CONF.
set_error_handler(function ($level, $text) { throw new Exception($text); });
[, $port, , $user, $password, , , $directory] = $argv;
chdir($directory);
$ftp = ftp_ssl_connect('localhost', (int)$port, 30);
ftp_login($ftp, $user, $password);
ftp_pasv($ftp, true);
echo "ok login\n";

function same($got, $expected, $what)
{
    if ($got !== $expected) {
        throw new Exception("$what: " . substr(var_export($got, true), 0, 200));
    }
}

$whole = file_get_contents('up.bin');
$half = intdiv(strlen($whole), 2);
ftp_mkdir($ftp, 'work');
ftp_put($ftp, 'work/first.bin', 'up.bin', FTP_BINARY);
echo "ok upload\n";
same(ftp_size($ftp, 'work/first.bin'), strlen($whole), 'size');
same(array_map('basename', ftp_nlist($ftp, 'work')), ['first.bin'], 'nlist');
$files = array_values(array_filter(ftp_mlsd($ftp, 'work'), fn($entry) => $entry['type'] === 'file'));
same([$files[0]['name'], $files[0]['size']], ['first.bin', (string)strlen($whole)], 'mlsd');
$lines = ftp_rawlist($ftp, 'work');
same(preg_match('/ ' . strlen($whole) . ' .* first\.bin$/', $lines[0]), 1, 'rawlist');
echo "ok list\n";
ftp_get($ftp, 'down.bin', 'work/first.bin', FTP_BINARY);
same(file_get_contents('down.bin') === $whole, true, 'download');
echo "ok download\n";
file_put_contents('part.bin', substr($whole, 0, $half));
ftp_get($ftp, 'part.bin', 'work/first.bin', FTP_BINARY, $half);
same(file_get_contents('part.bin') === $whole, true, 'resumed download');
echo "ok resume-down\n";
ftp_put($ftp, 'kept.bin', 'half.bin', FTP_BINARY);
ftp_put($ftp, 'kept.bin', 'up.bin', FTP_BINARY, $half);
echo "ok resume-up\n";
ftp_rename($ftp, 'work/first.bin', 'work/second.bin');
echo "ok rename\n";
ftp_delete($ftp, 'work/second.bin');
ftp_rmdir($ftp, 'work');
echo "ok delete\n";

function put($ftp, $here, $there)
{
    ftp_mkdir($ftp, $there);
    foreach (array_diff(scandir($here), ['.', '..']) as $name) {
        is_dir("$here/$name") ? put($ftp, "$here/$name", "$there/$name") : ftp_put($ftp, "$there/$name", "$here/$name", FTP_BINARY);
    }
}

function get($ftp, $there, $here)
{
    mkdir($here);
    foreach (ftp_mlsd($ftp, $there) as $entry) {
        $name = $entry['name'];
        if ($entry['type'] === 'dir') {
            get($ftp, "$there/$name", "$here/$name");
        } elseif ($entry['type'] === 'file') {
            ftp_get($ftp, "$here/$name", "$there/$name", FTP_BINARY);
        }
    }
}

put($ftp, 'tree', '/tree');
get($ftp, '/tree', 'back');
echo "ok recursive\n";
// No ftp_close, like many a script: the extension then ends TLS by itself, and warns of a server that does not.
