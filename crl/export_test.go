package crl

// Known returns how many CAs a ledger remembers.
func Known(l *Ledger) int { return len(l.known.fixed) + len(*l.known.learned.Load()) }
