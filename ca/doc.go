// Package ca is the authority: it decides whether a certificate should be
// issued, renewed or replaced, and in what order that happens.
//
// The order is the architecture. Every certificate takes the same walk, down
// once and up once (issue.go):
//
//	profile and issuer are known
//	the request proves its key
//	every name and use is granted to the caller
//	the draft is linted
//	the real key signs the draft's bytes
//	the record is durable, under a serial that nobody else has
//	one audit line is written, and only now the certificate leaves
//
// The signing key lives in this process, so the reservation of the serial and
// the certificate itself share one commit: nothing leaves before it, and a
// crash on either side of it leaves no certificate that the inventory lacks
// (docs/adr/0002-one-commit-per-certificate.md).
//
// The package never speaks HTTP, reads no file, flag or clock: time comes from
// Config.Now and memory from the Store that it declares.
package ca
