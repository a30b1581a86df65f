package crl

// Known returns how many CAs a ledger remembers.
func Known(l *Ledger) int {
	l.known.mu.RLock()
	defer l.known.mu.RUnlock()
	return l.known.count
}
