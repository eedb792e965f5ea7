"""Words that stay as they are: they carry grammar, or turn a meaning round. Numerals are no letters and stay anyway."""

_ENGLISH = """
a about above across after again against ain all almost along also although always am among an and another any
anybody anyone anything are aren around as at away
be became because become becomes been before behind being below beneath beside besides between beyond both but by
ca can cannot could couldn
did didn do does doesn doing don done down during
each either else enough ever every everybody everyone everything except
few for from further
had hadn has hasn have haven having he hence her here hers herself him himself his how however
if in indeed inside instead into is isn it its itself
just least less lest let like ll
many may maybe me might mightn mine more moreover most much must mustn my myself
near needn neither never nevertheless no nobody none nor not nothing now nowhere
of off often on once one only onto or other others otherwise ought our ours ourselves out outside over own
per perhaps quite rather re
same several shall shan she should shouldn since so some somebody someone something sometimes somewhere still such
than that the their theirs them themselves then there therefore these they this those though through throughout
thus till to together too toward towards
under unless unlike until up upon us
ve very via
was wasn we well were weren what whatever when whenever where whereas wherever whether which whichever while who
whoever whom whose why will with within without won would wouldn
yes yet you your yours yourself yourselves
"""
_CHINESE = """
的 地 得 了 着 过 是 在 有 和 与 及 或 而 且 但 也 都 就 才 还 又 再 很 更 最 太 把 被 让 给 对 向 从 到 由
以 于 为 因 所 将 并 若 则 之 其 此 该 各 每 某
不 没 没有 无 非 未 别 勿 莫 否 不是 不会 不能 不要 从不 绝不 并非
我 你 您 他 她 它 我们 你们 他们 她们 它们 咱们 自己 大家 这 那 这个 那个 这些 那些 这里 那里 这样 那样 哪
哪个 哪里 哪些 什么 谁 怎么 怎样 如何 为什么 多少 几
吗 呢 吧 啊 呀 哦 嘛 啦 哈 个 些
因为 所以 但是 可是 不过 虽然 如果 只要 只有 或者 还是 而且 并且 以及 然后 于是 因此 由于 为了 关于 对于 根据
按照 除了 已经 正在 曾经 可以 可能 能 会 要 应该 必须
"""
ENGLISH = frozenset(_ENGLISH.split())
"""Pronouns, articles, prepositions, conjunctions, auxiliaries, negations, and what stands before an apostrophe."""
CHINESE = frozenset(_CHINESE.split())
"""The same for Chinese; particles and measure words beside them."""
