# Redraw with `gnuplot decode_lengths.gp` in the folder that holds this, style.gp and the data.
load 'style.gp'
data = 'decode_lengths.tsv'

# One pass over the rows: the policies, those shown at one budget, budgets, ranges, the title.
policies = ''; shown = ''; budgets = ''; model = ''; dataset = ''; n_min = 1e18; n_max = 0; high = 0; at = NaN; cap = 0
budget_min = 1e18; budget_max = 0; fm = NaN; flo = NaN; fhi = NaN; stuck_max = 0.05
note_policy(p) = (p eq 'full' || style_has(policies, p)) ? 0 : (policies = policies.' '.p, 0)
note_shown(p, c) = c != 1 || style_has(shown, p) ? 0 : (shown = shown.' '.p, 0)
note_budget(b) = b != b ? 0 : (budget_min = b < budget_min ? b : budget_min, budget_max = b > budget_max ? b : budget_max, \
    style_has(budgets, sprintf('%.0f', b)) ? 0 : (budgets = budgets.sprintf(' %.0f', b), 0), 0)
note_range(h, c, a, s) = (high = h > high ? h : high, cap = c, at = a, stuck_max = s > stuck_max ? s : stuck_max, 0)
note_full(p, m, l, h) = p eq 'full' ? (fm = m, flo = l == l ? l : m, fhi = h == h ? h : m, 0) : 0
note_text(m, d) = (model = m, dataset = d, 0)
note_n(n) = (n_min = n < n_min ? n : n_min, n_max = n > n_max ? n : n_max, 0)
stats data using (note_policy(strcol('policy')) + note_shown(strcol('policy'), column('chosen')) + note_budget(column('budget')) \
    + note_range(column('q95'), column('cap'), column('at'), column('chosen') == 1 ? column('stuck_hi') : 0) \
    + note_full(strcol('policy'), column('mean'), column('lo'), column('hi')) + note_n(column('n')) \
    + note_text(strcol('model'), strcol('dataset'))) nooutput
N = words(policies)
policy(i) = word(policies, i)
marker(i) = style_marker(policy(i), i)
S = words(shown)
own(p) = words(substr(' '.policies.' ', 1, strstrt(' '.policies.' ', ' '.p.' '))) + 1
# a name of the list and its colour; full has its own
colour_of(p) = p eq 'full' ? style_full : style_colour(p, own(p))
marker_of(p) = p eq 'full' ? 7 : style_marker(p, own(p))
pale_of(p) = '#b0'.substr(colour_of(p), 2, 7)
row(k) = column('chosen') == 1 && strcol('policy') eq word(shown, k) ? S + 1 - k : NaN
has_full = fm == fm
label_budget = at == at ? 'asked budget (tokens)' : 'matched budget (tokens, mean)'
counts = n_min == n_max ? sprintf('n = %.0f', n_max) : sprintf('n = %.0f to %.0f', n_min, n_max)
budget_log = budget_max > 4 * budget_min
budget_pad = 0.12 * (budget_max - budget_min) + 0.05 * budget_max
apart(x, i) = budget_log ? x * 1.015 ** (i - (N + 1) / 2.0) : x + (i - (N + 1) / 2.0) * 0.01 * (budget_max - budget_min + 2 * budget_pad)
asked(i) = strcol('policy') eq policy(i) ? apart(column('budget'), i) : NaN

longest = style_longest(shown)
width = 1240
margin = 7.8 * longest + 16
height = 190 + 30 * S < 430 ? 430 : 190 + 30 * S
from = margin / width
top = 1 - 56.0 / height
bottom = 88.0 / height

do for [format in 'svg png'] {
    if (format eq 'svg') {
        set terminal svg size width, height font 'DejaVu Sans,12' background '#ffffff' noenhanced
    } else {
        set terminal pngcairo size 2 * width, 2 * height font 'DejaVu Sans,12' fontscale 1.65 linewidth 2 dashlength 1.5 \
            pointscale 2 background '#ffffff' noenhanced
    }
    set output 'decode_lengths.'.format
    set multiplot title dataset.'    '.model.'    '.counts font ',13'
    load 'style.gp'
    unset key
    unset logscale x
    set tmargin at screen top; set bmargin at screen bottom
    set yrange [0.4 : S + 0.6]
    set ytics nomirror scale 0 ()
    do for [k = 1:S] { set ytics add (word(shown, k) S + 1 - k) }
    set grid noytics xtics lt 1 lw 0.8 lc rgb '#e4e4e4'
    set xtics nomirror auto

    set lmargin at screen from; set rmargin at screen 0.45
    set title at == at ? sprintf('at budget %.0f', at) : 'at matched budgets' font ',12' offset 0, -0.6
    set xlabel "tokens decoded: 5, 25, 50, 75, 95 %;\nmarker: mean, 95 %"
    set xrange [0 : 1.04 * (cap < 1.6 * high ? cap : high)]
    if (cap < 1.6 * high) { set arrow 1 from first cap, graph 0 to first cap, graph 1 nohead lw 1.2 dashtype (6, 4) lc rgb '#888888' }
    plot for [k = 1:S] data using 'q05':(row(k)):(column('q95') - column('q05')):(0) with vectors nohead lw 1.4 lc rgb colour_of(word(shown, k)), \
        for [k = 1:S] data using 'q50':(row(k)):'q25':'q75':(row(k) - 0.28):(row(k) + 0.28) with boxxyerror fs solid 1 noborder \
            fc rgb pale_of(word(shown, k)), \
        for [k = 1:S] data using 'q50':(row(k) - 0.28):(0):(0.56) with vectors nohead lw 2.6 lc rgb colour_of(word(shown, k)), \
        for [k = 1:S] data using 'mean':(row(k)):'lo':'hi' with xerrorbars lw 1.8 pt 0 lc rgb '#000000', \
        for [k = 1:S] data using 'mean':(row(k)) with points pt marker_of(word(shown, k)) ps 0.9 lc rgb '#000000', \
        for [k = 1:S] data using 'mean':(row(k)) with points pt marker_of(word(shown, k)) ps 0.6 lc rgb colour_of(word(shown, k))
    unset arrow 1

    set lmargin at screen 0.475; set rmargin at screen 0.61
    unset ytics
    set title 'looped or cut' font ',12' offset 0, -0.6
    set xlabel "share of answers, 95 %;\nhollow: looped alone"
    set xrange [0 : stuck_max * 1.08]
    set xtics nomirror stuck_max > 0.6 ? 0.25 : stuck_max > 0.3 ? 0.2 : stuck_max > 0.1 ? 0.1 : 0.02
    plot for [k = 1:S] data using 'stuck':(row(k)):'stuck_lo':'stuck_hi' with xerrorbars lw 1.4 pt 7 ps 0.8 lc rgb colour_of(word(shown, k)), \
        for [k = 1:S] data using 'looped':(row(k)) with points pt 6 ps 1.1 lw 1.2 lc rgb colour_of(word(shown, k))

    set lmargin at screen 0.675; set rmargin at screen 0.99
    set title 'against the budget' font ',12' offset 0, -0.6
    set xlabel label_budget
    set ylabel 'mean tokens decoded (95 %)' offset 0.5, 0
    set grid noxtics ytics lt 1 lw 0.8 lc rgb '#e4e4e4'
    set yrange [0 : *]
    set ytics nomirror scale 0.6 auto
    if (budget_max > 0) {
        if (budget_log) { set logscale x 2; set xrange [budget_min / 1.2 : budget_max * 1.2] } \
        else { set xrange [budget_min - budget_pad : budget_max + budget_pad] }
    } else { set xrange [0 : 1] }
    set xtics nomirror ()
    do for [b in budgets] { set xtics add (b b + 0) }
    if (has_full) {
        set object 1 rectangle from graph 0, first flo to graph 1, first fhi fillcolor rgb style_band fillstyle solid noborder behind
    }
    plot for [i = 1:N] data using (asked(i)):'mean':'lo':'hi' with yerrorbars lw 1.2 pt 0 lc rgb style_pale(policy(i), i), \
        for [i = 1:N] data using (asked(i)):'mean' with linespoints lw 1.5 pt marker(i) ps 0.8 lc rgb style_colour(policy(i), i), \
        fm with lines lw 1.6 dashtype (14, 8) lc rgb style_full
    unset multiplot
    unset object; unset ylabel
    unset output
}
