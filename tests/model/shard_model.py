#!/usr/bin/env python3
"""Randomized model of a pipeline with several commit logs: partition p is of shard p mod N, and each shard has a log.

What happens within one log is `commit_model.py`'s; here a log is a list with a compare-and-set on each partition's last
record. Every yield is one atomic step; a seeded scheduler interleaves hosts, crashes them, and lets partitions and
events come. RULES holds one flag per clause; all on = the protocol, a flag off = a plausible misreading of it.

usage: shard_model.py [seeds per variant, default 300]
exit status 1: a variant with all rules on was bad, or one with a rule off found nothing.
"""
import collections, random, sys
RULES = dict(
  owner_names_logs=1,   # L7: what says whose the tables are says how many logs there are; a host with another number is refused
  logs_begin_together=1,# L6: each log begins with the first positions of its partitions, if any, before anything is fetched
  one_shard_an_epoch=1, # an epoch, its files and its record hold partitions of one shard
)
class Bad(Exception): pass

class World:
  def __init__(w, seed, rules, cfg):
    w.r, w.R, w.cfg = random.Random(seed), rules, cfg
    w.end = {p: w.r.randrange(3) for p in range(cfg['parts'])}
    w.logs = collections.defaultdict(list); w.owner = None; w.visible = collections.Counter(); w.files = {}; w.n = 0
    w.first = None      # {p: offset}: where each partition must begin; set by the first host that fetches
    w.fired = collections.Counter()
  def name(w, p, n): return f'p@{p % n}' if n > 1 else 'p'
  def fold(w, log):
    """(position and last record by partition, whether the topic is known)"""
    at = {}
    for seq, (parts, _) in enumerate(w.logs[log]): at.update({p: (to, seq) for p, (_, to) in parts.items()})
    return at, bool(w.logs[log])
  def append(w, log, parts, files, prev):
    """the compare-and-set: each partition's last record is the one that the epoch builds on"""
    at, _ = w.fold(log)
    if any(at.get(p, (None, None))[1] != prev[p] for p in parts): return False
    w.logs[log].append((parts, files)); return True
  def publish(w, key):
    if key in w.files:
      w.visible.update(w.files.pop(key))
      if (twice := [e for e, n in w.visible.items() if n > 1]): raise Bad(f'twice: {twice[:3]}')

def host(w, n):
  R = w.R
  if R['owner_names_logs']:
    w.owner = w.owner or n
    if w.owner != n: w.fired['refused'] += 1; return
  logs = sorted({w.name(p, n) for p in range(n)}); yield
  latest = lambda p, known: w.end[p] if w.cfg['latest'] and not known else 0
  if R['logs_begin_together']:
    for log in logs:
      at, known = w.fold(log)
      if not known:
        parts = {p: (latest(p, known),) * 2 for p in w.end if w.name(p, n) == log}
        w.append(log, parts, [], {p: None for p in parts}); w.fired['empty start'] += not parts
      if w.r.random() < w.cfg['crash']: w.fired['crash while beginning'] += 1; return
      yield
  if w.first is None: w.first = {p: latest(p, False) for p in w.end}   # a person's "latest" is the first host's that fetches
  for _ in range(w.r.randint(1, 3)):
    mine = [p for p in w.end if w.r.random() < .6]
    base = {}
    for p in mine:
      log = w.name(p, n); at, known = w.fold(log)
      if p not in at: w.append(log, {p: (latest(p, known),) * 2}, [], {p: None}); at, _ = w.fold(log)
      base[p] = at[p]; yield
    # what other hosts left of these partitions is published first
    for p in mine:
      for _, files in list(w.logs[w.name(p, n)]):
        for key in files: w.publish(key)
    got = {p: (base[p][0], w.end[p]) for p in mine if w.end[p] > base[p][0]}
    if not got: return
    epochs = collections.defaultdict(dict)
    for p, span in got.items(): epochs[w.name(p, n) if R['one_shard_an_epoch'] else '*'][p] = span
    for parts in epochs.values():
      w.n += 1; key = f'f{w.n}'; w.files[key] = [(p, o) for p, (a, b) in parts.items() for o in range(a, b)]
      by_log = collections.defaultdict(dict)
      for p, span in parts.items(): by_log[w.name(p, n)][p] = span
      done = []
      for log, some in by_log.items():
        yield
        if w.r.random() < w.cfg['crash']: w.fired['crash'] += 1; return
        if w.append(log, some, [key], {p: base[p][1] for p in some}): done.append(log)
      if not done: w.files.pop(key, None); w.fired['lost race'] += 1; return
      yield
      if w.r.random() < w.cfg['crash']: w.fired['crash'] += 1; return
      w.publish(key)

def run(seed, rules, cfg):
  w = World(seed, rules, cfg); live = []
  step = lambda h: next(h, 'over') == 'over' and live.remove(h)
  for _ in range(cfg['steps']):
    x = w.r.random()
    if x < .1 and len(live) < 3: live.append(host(w, w.r.choice(cfg['logs'])))
    elif x < .2: w.end[w.r.choice(list(w.end))] += 1
    elif x < .2 + cfg['grows'] and len(w.end) < 8 and w.first is not None: w.end[len(w.end)] = 0; w.fired['partition added'] += 1
    elif live: step(w.r.choice(live))
  while live: step(live[0])
  cfg = w.cfg = dict(cfg, crash=0); n = w.owner or cfg['logs'][0]
  for _ in range(12):
    h = host(w, n); collections.deque(h, 0)
  for p, end in w.end.items():
    begin = (w.first or {}).get(p, 0)
    for o in range(begin, end):
      if not w.visible[p, o]: raise Bad(f'lost: partition {p}, offset {o}')
  return w.fired

CALM = dict(parts=4, logs=[4], latest=0, grows=0, crash=.05, steps=250)
VARIANTS = {
  'all on': ({}, CALM),
  'all on, hosts with other numbers': ({}, dict(CALM, logs=[1, 2, 4])),
  'all on, latest, partitions come': ({}, dict(CALM, parts=2, logs=[4], latest=1, grows=.03)),
  'all on, more logs than partitions': ({}, dict(CALM, parts=3, logs=[8], grows=.02)),
  'the number of logs is not in the owner': (dict(owner_names_logs=0), dict(CALM, logs=[1, 4])),
  'another number of several logs': (dict(owner_names_logs=0), dict(CALM, logs=[2, 4])),
  'a log begins with its first partition': (dict(logs_begin_together=0), dict(CALM, parts=2, latest=1, grows=.03)),
  'an epoch of two shards': (dict(one_shard_an_epoch=0), CALM),
}

def main():
  seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 300; failed = []
  for name, (off, cfg) in VARIANTS.items():
    bad, fired = [], collections.Counter()
    for seed in range(seeds):
      try: fired.update(run(seed, {**RULES, **off}, cfg))
      except Bad as e: bad.append((seed, str(e)))
    print(f'{name}: {len(bad)} bad of {seeds}' + (f', first [{bad[0][0]}] {bad[0][1]}' if bad else '') + f' {dict(fired)}')
    if bool(bad) != bool(off): failed.append(name)
  if failed: sys.exit('not as it should be: ' + ', '.join(failed))

if __name__ == '__main__': main()
