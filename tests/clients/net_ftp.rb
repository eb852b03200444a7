# Ruby's net/ftp; the work and its words stand in README.md beside this file.
#
# Called as `net_ftp.rb PORT CA USER PASSWORD VERSION MODE DIRECTORY`.
require 'net/ftp'
require 'openssl'

port, authority, user, password, version, mode, directory = ARGV
$stdout.sync = true
Dir.chdir(directory)
wanted = version == '1.2' ? OpenSSL::SSL::TLS1_2_VERSION : OpenSSL::SSL::TLS1_3_VERSION
tls = { ca_file: authority, verify_mode: OpenSSL::SSL::VERIFY_PEER, min_version: wanted, max_version: wanted }
options = { port: port.to_i, ssl: tls, passive: true, open_timeout: 30, read_timeout: 30 }
options[:implicit_ftps] = true if mode == 'implicit'
ftp = Net::FTP.new('localhost', options)
ftp.login(user, password)
puts 'ok login'

def same(got, expected, what)
  raise "#{what}: #{got.inspect[0, 200]}" unless got == expected
end

whole = File.binread('up.bin')
half = whole.bytesize / 2
ftp.mkdir('work')
ftp.putbinaryfile('up.bin', 'work/first.bin')
puts 'ok upload'
same(ftp.size('work/first.bin'), whole.bytesize, 'size')
same(ftp.nlst('work').map { |name| File.basename(name) }, ['first.bin'], 'nlst')
same(ftp.mlsd('work').select(&:file?).map { |entry| [entry.pathname, entry.size] }, [['first.bin', whole.bytesize]], 'mlsd')
lines = ftp.list('work')
raise "list: #{lines}" unless lines.length == 1 && lines[0].match?(/ #{whole.bytesize} .* first\.bin$/)
puts 'ok list'
ftp.getbinaryfile('work/first.bin', 'down.bin')
same(File.binread('down.bin') == whole, true, 'download')
puts 'ok download'
File.binwrite('part.bin', whole[0, half])
ftp.resume = true
ftp.getbinaryfile('work/first.bin', 'part.bin')
same(File.binread('part.bin') == whole, true, 'resumed download')
puts 'ok resume-down'
ftp.putbinaryfile('half.bin', 'kept.bin')
ftp.putbinaryfile('up.bin', 'kept.bin')
ftp.resume = false
puts 'ok resume-up'
ftp.rename('work/first.bin', 'work/second.bin')
puts 'ok rename'
ftp.delete('work/second.bin')
ftp.rmdir('work')
puts 'ok delete'

def put(ftp, here, there)
  ftp.mkdir(there)
  Dir.children(here).each do |name|
    File.directory?("#{here}/#{name}") ? put(ftp, "#{here}/#{name}", "#{there}/#{name}") : ftp.putbinaryfile("#{here}/#{name}", "#{there}/#{name}")
  end
end

def get(ftp, there, here)
  Dir.mkdir(here)
  ftp.mlsd(there).each do |entry|
    get(ftp, "#{there}/#{entry.pathname}", "#{here}/#{entry.pathname}") if entry.type == 'dir'
    ftp.getbinaryfile("#{there}/#{entry.pathname}", "#{here}/#{entry.pathname}") if entry.file?
  end
end

put(ftp, 'tree', '/tree')
get(ftp, '/tree', 'back')
puts 'ok recursive'
ftp.quit
ftp.close
