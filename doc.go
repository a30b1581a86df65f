// Package omca is the certificate authority that lives inside a cluster, whole,
// in one call: [Open] opens the store, bootstraps what is missing and composes
// the parts; [Server.Run] serves the API until its context ends.
//
// It is what cmd/omca runs, and what another Go program imports to have an
// authority of its own in process: see [Server.TLSConfig].
//
// The package composes and decides nothing: what may be issued is package ca's
// to say, who may ask is usr's, how a certificate looks is pki's.
package omca
