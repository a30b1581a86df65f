// Package offline is a certificate authority in a directory, as Flocker's
// operators know it: no daemon, no store, no record of what was signed.
//
//	cluster.crt, cluster.key               the CA
//	control-HOST.crt, control-HOST.key     the control service on HOST
//	UUID.crt, UUID.key                     a node
//	NAME.crt, NAME.key                     a user
//
// Certificates and keys are one PEM block each, mode 0600 whatever the umask. A
// pair is made as a whole or not at all, and never over a file that is there:
// see [pair].
//
// All X.509 is that of pki, and who is who that of pki/flocker. Against Flocker's
// own: version 3, UTCTime, key identifiers, a key usage, and basic constraints,
// so that "openssl verify -x509_strict" agrees. What Flocker made is taken as it
// is, version 1 and all.
//
// Errors about files are [*flocker.FileError], in Flocker's words. The package
// never reads the clock, which is given, nor the working directory: paths are
// absolute.
package offline
