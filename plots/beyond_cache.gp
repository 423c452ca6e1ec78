# Redraw with `gnuplot beyond_cache.gp` in the folder that holds this, style.gp and the data.
load 'style.gp'
data = 'beyond_cache.tsv'

# One pass over the rows: the policies, budgets with what counts there, the title.
policies = ''; budgets = ''; model = ''; dataset = ''; n_min = 1e18; n_max = 0
note_policy(p) = (p eq 'full' || style_has(policies, p)) ? 0 : (policies = policies.' '.p, 0)
note_text(m, d) = (model = m, dataset = d, 0)
note_n(n) = (n_min = n < n_min ? n : n_min, n_max = n > n_max ? n : n_max, 0)
problems = 0; top_y = 0; ns = ''; low = 1e18; high = 0
note_budget(p, b, n) = (p ne 'full' || style_has(budgets, sprintf('%.0f', b))) ? 0 \
    : (budgets = budgets.sprintf(' %.0f', b), ns = ns.sprintf(' %.0f', n), low = b < low ? b : low, high = b > high ? b : high, 0)
note_problems(n, h) = (problems = n, top_y = h > top_y ? h : top_y, 0)
stats data using (note_policy(strcol('policy')) + note_budget(strcol('policy'), column('budget'), column('n')) \
    + note_problems(column('problems'), column('hi')) + note_text(strcol('model'), strcol('dataset'))) nooutput
N = words(policies)
policy(i) = word(policies, i)
colour(i) = style_colour(policy(i), i)
pale(i) = style_pale(policy(i), i)
marker(i) = style_marker(policy(i), i)
has_full = 1
budget_log = high > 4 * low
pad = 0.12 * (high - low) + 0.05 * high
apart(x, i) = budget_log ? x * 1.015 ** (i - (N + 1) / 2.0) : x + (i - (N + 1) / 2.0) * 0.01 * (high - low + 2 * pad)
asked(i) = strcol('policy') eq policy(i) ? apart(column('budget'), i) : NaN
full(c) = strcol('policy') eq 'full' ? column(c) : NaN

width = 760
longest = style_longest(policies)
entry_px = 8.4 * longest + 46
entries = N + 1
columns = style_columns(entries, entry_px, width)
legend_rows = style_rows(entries, columns)
legend_x(i) = 0.5 + ((i - 1) % columns - columns / 2.0) * entry_px / width + 0.015
legend_y(i) = (24.0 * (legend_rows - (i - 1) / columns) - 6) / height
height = 470 + 24 * legend_rows
bottom = (96 + 24.0 * legend_rows) / height

do for [format in 'svg png'] {
    if (format eq 'svg') {
        set terminal svg size width, height font 'DejaVu Sans,12' background '#ffffff' noenhanced
    } else {
        set terminal pngcairo size 2 * width, 2 * height font 'DejaVu Sans,12' fontscale 1.65 linewidth 2 dashlength 1.5 \
            pointscale 2 background '#ffffff' noenhanced
    }
    set output 'beyond_cache.'.format
    load 'style.gp'
    set title dataset.'    '.model.sprintf('    %.0f problems', problems) font ',13'
    unset key
    set lmargin at screen 0.1; set rmargin at screen 0.98
    set bmargin at screen bottom; set tmargin at screen 1 - 44.0 / height
    set yrange [-0.03 * top_y : 1.05 * top_y]
    set ytics nomirror top_y > 0.5 ? 0.2 : 0.1 format '%.1f'
    set ylabel 'accuracy beyond the budget (95 % Wilson)'
    set xlabel 'asked budget (tokens); n: problems that take more under full' offset 0, -0.6
    if (budget_log) { set logscale x 2; set xrange [low / 1.2 : high * 1.2] } else { set xrange [low - pad : high + pad] }
    set xtics nomirror ()
    do for [i = 1:words(budgets)] { set xtics add (word(budgets, i)."\nn = ".word(ns, i) word(budgets, i) + 0) }
    do for [i = 1:N] {
        set label i policy(i) at screen legend_x(i), legend_y(i) left offset 1.2, -0.2 point pt marker(i) ps 0.9 lc rgb colour(i)
    }
    if (has_full) {
        set label entries 'full' at screen legend_x(entries), legend_y(entries) left offset 1.7, 0
        set arrow 1 from screen legend_x(entries) - 10.0 / width, legend_y(entries) \
            to screen legend_x(entries) + 10.0 / width, legend_y(entries) nohead lw 1.6 dashtype (6, 4) lc rgb style_full
    }
    plot for [i = 1:N] data using (asked(i)):'accuracy':'lo':'hi' with yerrorbars lw 1.2 pt 0 lc rgb pale(i), \
        for [i = 1:N] data using (asked(i)):'accuracy' with linespoints lw 1.6 pt marker(i) ps 0.9 lc rgb colour(i), \
        data using (full('budget')):'lo':(0):(column('hi') - column('lo')) with vectors nohead lw 1.2 lc rgb '#909090', \
        data using (full('budget')):'accuracy' with lines lw 1.6 dashtype (14, 8) lc rgb style_full
    unset label; unset arrow
    unset output
}
