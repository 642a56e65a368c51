package store

// Waiting returns how many calls wait to be sent.
func (s *Store) Waiting() int {
	s.scripts.mu.Lock()
	defer s.scripts.mu.Unlock()
	return len(s.scripts.waiting)
}
