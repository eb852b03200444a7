//! Every verb, once.

/// A verb of FTP that this server knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
#[rustfmt::skip]
pub enum Verb {
    Abor, Acct, Allo, Appe, Auth, Avbl, Ccc, Cdup, Clnt, Csid, Cwd, Dele, Eprt, Epsv, Feat, Help, Host, Lang, List, Mdtm, Mff, Mfmt, Mkd,
    Mlsd, Mlst, Mode, Nlst, Noop, Opts, Pass, Pasv, Pbsz, Port, Prot, Pwd, Quit, Rein, Rest, Retr, Rmd, Rnfr, Rnto, Site, Size, Stat, Stor,
    Stou, Stru, Syst, Type, User,
}
